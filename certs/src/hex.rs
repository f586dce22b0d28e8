//! Bytes as people read them: upper-case hex, as `openssl` writes serial numbers.

use std::fmt::Write;

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02X}"); // writing to a String cannot fail
    }
    text
}
