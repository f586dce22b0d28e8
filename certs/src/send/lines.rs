//! NDJSON: one message per line, cut into batches. Each gets its idempotency key here, and keeps it.
//!
//! Refused here, unsent: what is no JSON object, and what is longer than any proxy takes.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, de::IgnoredAny};

use super::settled::Settled;

/// Far above the 64 KiB that a proxy takes by default.
const LONGEST: usize = 1024 * 1024;

/// A message to be sent.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) line: u64,
    /// The line with its key in it.
    pub(super) json: String,
    /// Of the line as it stands in the file.
    pub(super) digest: String,
}

impl Item {
    pub(super) fn settled(&self, settled: Settled) -> Settled {
        Settled { digest: self.digest.clone(), ..settled }
    }
}

/// What comes next out of the input.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) refused: Vec<Settled>,
    /// Nothing was left.
    pub(super) end: bool,
}

/// Reads an input line by line.
pub(super) struct Lines<R> {
    input: R,
    key: String,
    line: u64,
    bytes: u64,
    /// Read, but beyond the batch before.
    held: Option<Item>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, key: String) -> Self {
        Self { input, key, line: 0, bytes: 0, held: None }
    }

    /// How much was read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next messages: at most so many, and so many bytes.
    pub(super) fn next_batch(&mut self, messages: usize, bytes: usize) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let mut size = 0;
        while batch.items.len() < messages {
            let item = match self.held.take() {
                Some(item) => item,
                None => match self.next()? {
                    Next::Item(item) => item,
                    Next::Blank => continue,
                    Next::Refused(refused) => {
                        batch.refused.push(refused);
                        if batch.refused.len() >= messages {
                            break;
                        }
                        continue;
                    }
                    Next::End => break,
                },
            };
            if size > 0 && size + item.json.len() >= bytes {
                self.held = Some(item);
                break;
            }
            size += item.json.len() + 1;
            batch.items.push(item);
        }
        batch.end = batch.items.is_empty() && batch.refused.is_empty();
        Ok(batch)
    }

    fn next(&mut self) -> io::Result<Next> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(Next::End);
        }
        self.line += 1;
        self.bytes += read as u64;
        let refused = |code: &str, status, detail: String| {
            Ok(Next::Refused(Settled::refused(self.line, status, code, detail)))
        };
        if bytes.len() > LONGEST {
            while !bytes.ends_with(b"\n") {
                bytes.clear();
                let more = (&mut self.input).take(LONGEST as u64).read_until(b'\n', &mut bytes)?;
                if more == 0 {
                    break;
                }
                self.bytes += more as u64;
            }
            return refused("payload_too_large", 413, format!("the line is longer than {LONGEST} bytes"));
        }
        let Ok(text) = str::from_utf8(&bytes) else {
            return refused("invalid_json", 400, "the line is not UTF-8".to_owned());
        };
        let text = text.trim();
        if text.is_empty() {
            return Ok(Next::Blank);
        }
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            return refused("invalid_json", 400, format!("the line is not JSON: {error}"));
        }
        let Some(members) = text.strip_prefix('{') else {
            return refused("invalid_json", 400, "the line is not a JSON object".to_owned());
        };
        let json = keyed(text, members, &self.key, self.line);
        Ok(Next::Item(Item { line: self.line, json, digest: digest(text) }))
    }
}

enum Next {
    Item(Item),
    Blank,
    Refused(Settled),
    End,
}

/// Only what is needed to see whether there is a key already.
#[derive(Deserialize)]
struct Keyed {
    idempotency_key: Option<IgnoredAny>,
}

/// The object with a key in it. One that has its own keeps it; one that has two is the proxy's to refuse.
///
/// The text is not written anew, so that metadata arrives in the sender's own spelling.
fn keyed(text: &str, members: &str, key: &str, line: u64) -> String {
    match serde_json::from_str::<Keyed>(text) {
        Ok(Keyed { idempotency_key: None }) => {
            let comma = if members.trim_start().starts_with('}') { "" } else { "," };
            // a JSON string: quotes and backslashes in a key that somebody chose
            let key = serde_json::Value::from(format!("{key}:{line}"));
            format!("{{\"idempotency_key\":{key}{comma}{members}")
        }
        _ => text.to_owned(),
    }
}

fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let octets = digest.as_ref()[..8].try_into().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(input: &str) -> Batch {
        Lines::new(input.as_bytes(), "run".to_owned()).next_batch(10, 1000).unwrap_or_default()
    }

    #[test]
    fn each_line_gets_a_key_of_its_number_and_keeps_its_spelling() {
        let batch = batch("{\"a\": 1.10}\n\n{}\r\n  {\"idempotency_key\":\"own\"}\n");
        let sent: Vec<_> = batch.items.iter().map(|item| (item.line, item.json.as_str())).collect();
        assert_eq!(
            sent,
            [
                (1, r#"{"idempotency_key":"run:1","a": 1.10}"#),
                (3, r#"{"idempotency_key":"run:3"}"#),
                (4, r#"{"idempotency_key":"own"}"#),
            ]
        );
    }

    #[test]
    fn what_is_no_json_object_is_refused_by_its_line_and_its_neighbours_are_not() {
        let batch = batch("{\"a\":1}\nhello\n[1]\n{\"b\":\n{\"c\":2}");
        assert_eq!(batch.items.iter().map(|item| item.line).collect::<Vec<_>>(), [1, 5]);
        let refused: Vec<_> = batch.refused.iter().map(|one| (one.line, one.code.as_deref())).collect();
        assert_eq!(refused, [2, 3, 4].map(|line| (line, Some("invalid_json"))));
    }

    #[test]
    fn a_batch_ends_before_it_is_too_large_and_loses_no_line() {
        let input = "{\"a\":1}\n".repeat(25);
        for (messages, bytes) in [(10, 100_000), (100, 100), (1, 1)] {
            let mut lines = Lines::new(input.as_bytes(), "k".to_owned());
            let mut seen = Vec::new();
            loop {
                let batch = lines.next_batch(messages, bytes).unwrap_or_default();
                if batch.end {
                    break;
                }
                assert!(batch.items.len() <= messages);
                let size: usize = batch.items.iter().map(|item| item.json.len() + 1).sum();
                assert!(size <= bytes || batch.items.len() == 1, "{size}");
                seen.extend(batch.items.iter().map(|item| item.line));
            }
            assert_eq!(seen, (1..=25).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_line_without_end_is_refused_without_being_kept() {
        let long = format!("{}\n{{\"a\":1}}\n", "x".repeat(3 * LONGEST));
        let batch = batch(&long);
        assert_eq!(batch.refused[0].status, 413);
        assert_eq!(batch.items[0].line, 2);
    }
}
