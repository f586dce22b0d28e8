//! The body of one message.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| proxy::api::claims::message(body));
