//! A batch. First a byte: odd for lines, even for an array; half of it, modulo 16, says how many lengths of pieces
//! follow, a byte each. What comes after them is the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let (cuts, body) = rest.split_at(rest.len().min(usize::from(first / 2 % 16)));
    proxy::api::claims::batch(body, cuts, first % 2 == 1);
});
