//! Searching disks with `grep`: for a text, in hexadecimal, in base64 wherever it begins, and in UTF-16.

use std::{
    fmt::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::NamedTempFile;

/// A text as somebody would write it: each as a `bytea` literal of Postgres.
pub(super) fn written(text: &str) -> Vec<String> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let mut all = vec![
        text.as_bytes().to_vec(),
        hex(text.as_bytes()).into_bytes(),
        hex(text.as_bytes()).to_uppercase().into_bytes(),
    ];
    // something stands before it: each of the three ways in which base64 can begin
    all.extend(["", "a", "ab"].map(|before| base64(format!("{before}{text}").as_bytes()).into_bytes()));
    all.extend([utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)]);
    all.iter().map(|bytes| format!("\\x{}", hex(bytes))).collect()
}

/// The bytes of such a literal.
pub(super) fn bytes(literal: &str) -> Vec<u8> {
    let digits = literal.strip_prefix("\\x").unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks_exact(2).map(byte).collect()
}

/// What to search for, a line each.
pub(super) fn secrets_file(secret: &str) -> NamedTempFile {
    let mut patterns = vec![secret.to_owned(), hex(secret.as_bytes())];
    for before in 0..3 {
        let encoded = base64(&[vec![0; before], secret.as_bytes().to_vec()].concat());
        // without the digits that depend on what stands before and after
        let first = (before * 8).div_ceil(6);
        let last = (before + secret.len()) * 8 / 6;
        patterns.push(encoded[first..last].to_owned());
    }
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), patterns.join("\n") + "\n").unwrap();
    file
}

/// The files in which one of the patterns stands, in capitals or not; empty if in none.
pub(super) fn found_in(places: &[PathBuf], patterns: &NamedTempFile) -> String {
    let mut grep = grep(patterns);
    let output = grep.args(["--recursive", "--files-with-matches"]).args(places).output().unwrap();
    // 1: nothing found; 2: something could not be read, which for files that the server removes meanwhile is no matter
    assert!(output.status.code().is_some_and(|code| code < 2) || gone(&output.stderr), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether one of the patterns stands there when all zero bytes are left out, as in UTF-16.
pub(super) fn found_without_nuls(places: &[PathBuf], patterns: &NamedTempFile) -> bool {
    let mut read = Command::new("find")
        .args(places)
        .args(["-type", "f", "-exec", "cat", "{}", "+"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut strip = Command::new("tr")
        .args(["-d", "\\000"])
        .env("LC_ALL", "C")
        .stdin(read.stdout.take().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // it counts, and so reads to the end: nobody before it is cut short
    let counted = grep(patterns).arg("--count").stdin(strip.stdout.take().unwrap()).output().unwrap();
    assert!(
        read.wait().is_ok()
            && strip.wait().unwrap().success()
            && counted.status.code().is_some_and(|code| code < 2)
    );
    counted.status.success()
}

fn grep(patterns: &NamedTempFile) -> Command {
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C")
        .args(["--text", "--fixed-strings", "--ignore-case", "--file"])
        .arg(patterns.path());
    grep
}

fn gone(errors: &[u8]) -> bool {
    let errors = String::from_utf8_lossy(errors);
    !errors.is_empty() && errors.lines().all(|line| line.ends_with("No such file or directory"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

mod tests {
    #[test]
    fn base64_is_what_others_make_of_it() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
    }
}
