//! What a batch holds: each item a message, or the reason why it is none.
//!
//! In: the body, piece by piece. Out: the items, in order, and the digest of the body. Refused as a whole: what
//! is no list, more items than a batch may have, keys in two places.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use serde::de::IgnoredAny;
use shared::wire::{Code, Problem};

use super::split::{Format, Splitter, Text};
use crate::{
    api::{Message, idempotency_key, message::parse_item},
    config::{BatchLimits, MessageLimits},
};

/// One item: a message, or why it is refused.
pub(super) type Item = Result<Message, Problem>;

/// A batch that comes in.
pub(super) struct Incoming<'a> {
    splitter: Splitter,
    digest: digest::Context,
    items: Items<'a>,
}

/// Its items so far.
struct Items<'a> {
    limits: (&'a BatchLimits, &'a MessageLimits),
    /// The batch has an idempotency key as a whole.
    keyed: bool,
    read: Vec<Item>,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(format: Format, limits: (&'a BatchLimits, &'a MessageLimits), keyed: bool) -> Self {
        Self {
            splitter: Splitter::new(format, limits.1.body.0),
            digest: digest::Context::new(&digest::SHA256),
            items: Items { limits, keyed, read: Vec::new() },
        }
    }

    /// Reads every item that the next piece completes.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), Problem> {
        self.digest.update(piece);
        self.splitter.feed(piece, &mut |text| self.items.take(&text))
    }

    /// The body is complete. Out come its items, at least one, and its SHA-256 in hexadecimal.
    pub(super) fn end(mut self) -> Result<(Vec<Item>, String), Problem> {
        self.splitter.end(&mut |text| self.items.take(&text))?;
        let Items { read, limits, .. } = self.items;
        if read.is_empty() {
            let text = format!("the batch is empty; it may have 1 to {} messages", limits.0.messages);
            return Err(Problem::new(Code::InvalidField, text));
        }
        Ok((read, hexadecimal(self.digest.finish().as_ref())))
    }
}

impl Items<'_> {
    fn take(&mut self, text: &Text<'_>) -> Result<(), Problem> {
        let (batch, message) = self.limits;
        if self.read.len() == batch.messages {
            let text = format!("a batch may have at most {} messages", batch.messages);
            return Err(Problem::new(Code::PayloadTooLarge, text).with("limit_messages", batch.messages));
        }
        let item = text.bytes.ok_or_else(|| too_long(message.body.0));
        let item = item.and_then(|bytes| parse_item(bytes, message));
        self.read.push(match (item, text.line) {
            (Ok(message), _) if self.keyed && message.idempotency_key.is_some() => {
                let text = "the batch has an idempotency key as a whole and one of its messages another: use one \
                            way";
                return Err(Problem::new(Code::InvalidField, text).with("field", idempotency_key::NAME));
            }
            (Err(mut problem), Some(line)) => {
                problem.detail = format!("line {line}: {}", problem.detail);
                Err(problem)
            }
            (Err(problem), None) if problem.code == Code::InvalidJson && !is_json(text.bytes) => {
                // Where one message ends and the next begins is then anybody's guess.
                let text = format!("the message at index {}: {}", self.read.len(), problem.detail);
                return Err(Problem::new(Code::InvalidJson, text));
            }
            (item, _) => item,
        });
        Ok(())
    }
}

fn too_long(limit: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("a message may have at most {limit} bytes"))
        .with("limit_bytes", limit)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // writing to a string does not fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether an item of an array is a JSON text at all, if no message.
fn is_json(item: Option<&[u8]>) -> bool {
    let text = std::str::from_utf8(item.unwrap_or_default());
    text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"sender_number":"+1234567890","message_body":"x"}"#;

    fn read(format: Format, body: &str, keyed: bool) -> Result<Vec<Item>, Problem> {
        let limits = (&BatchLimits { messages: 3, ..BatchLimits::default() }, &MessageLimits::default());
        let mut incoming = Incoming::new(format, limits, keyed);
        body.as_bytes().chunks(7).try_for_each(|piece| incoming.feed(piece))?;
        incoming.end().map(|(items, _)| items)
    }

    fn codes(items: &[Item]) -> Vec<Option<Code>> {
        items.iter().map(|item| item.as_ref().err().map(|problem| problem.code)).collect()
    }

    #[test]
    fn a_message_that_is_none_is_refused_alone() {
        let items = read(Format::Array, &format!("[{GOOD},{{\"a\":1}},[1]]"), false).unwrap();
        assert_eq!(codes(&items), [None, Some(Code::UnknownField), Some(Code::InvalidJson)]);
        let items = read(Format::Lines, &format!("{GOOD}\n\n{{\"a\":\n{GOOD}"), false).unwrap();
        assert_eq!(codes(&items), [None, Some(Code::InvalidJson), None]);
        assert!(items[1].as_ref().unwrap_err().detail.starts_with("line 3: "));
    }

    #[test]
    fn a_syntax_error_in_an_array_refuses_the_whole() {
        for item in ["{\"a\":1,}", "{\"a\":1]", "1 2", "[1,,2]", "nul", "{\"a\":\"\u{1}\"}", "'x'"] {
            let refused = read(Format::Array, &format!("[{GOOD},{item},{GOOD}]"), false).unwrap_err();
            assert_eq!(refused.code, Code::InvalidJson, "{item}");
        }
    }

    #[test]
    fn a_batch_has_one_to_so_many_messages_and_its_keys_in_one_place() {
        let (empty, many) = ("[]".to_owned(), format!("[{GOOD},{GOOD},{GOOD},{GOOD}]"));
        let keyed =
            format!("[{}]", GOOD.replace("\"message_body\"", "\"idempotency_key\":\"k\",\"message_body\""));
        assert_eq!(read(Format::Array, &empty, false).unwrap_err().code, Code::InvalidField);
        assert_eq!(read(Format::Array, &many, false).unwrap_err().code, Code::PayloadTooLarge);
        assert_eq!(read(Format::Array, &keyed, true).unwrap_err().code, Code::InvalidField);
        assert_eq!(codes(&read(Format::Array, &keyed, false).unwrap()), [None]);
    }
}
