//! The value of an `Idempotency-Key` header.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| proxy::api::claims::idempotency_key(value));
