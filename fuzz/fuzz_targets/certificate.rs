//! A certificate, as a client shows it before anybody has verified it.
#![no_main]

libfuzzer_sys::fuzz_target!(|der: &[u8]| shared::identity::claims::certificate(der));
