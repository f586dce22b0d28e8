//! What is true of a request, whatever is in it.
//!
//! In: bytes of anybody. Out: nothing, or a panic that says which claim they break. The tests here call these with
//! generated input, the fuzz targets in `fuzz/` with their own; no binary of ours has them.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, value::RawValue};
use shared::wire::{Code, Problem};

use super::{idempotency_key, message::parse_item, metadata, parse_message};
use crate::config::MessageLimits;

pub use super::batch::claims::batch;

/// Whatever a client sends, its refusal is no echo of it: a longer one than this would be.
const LONGEST_DETAIL: usize = 1000;

/// A header's value is one key or none; a key is visible ASCII and has one quoted form, which is read back.
pub fn idempotency_key(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.append("idempotency-key", value.clone());
    match idempotency_key::of_request(&headers) {
        Ok(key) => {
            let key = key.unwrap_or_default();
            assert!(idempotency_key::is_key(&key), "a key that can be none: {key:?}");
            let text = value.to_str().unwrap_or_default().trim_matches([' ', '\t']);
            let bare = !text.starts_with('"');
            assert!(
                !bare || !key.contains(['"', '\\', ',', ';']),
                "half a string, or more than one: {key:?}"
            );
            assert_eq!(text, if bare { key } else { quoted(&key) }, "another key than was sent");
        }
        Err(problem) => check_refusal(&problem, &[Code::InvalidField]),
    }
    headers.append("idempotency-key", value);
    assert!(idempotency_key::of_request(&headers).is_err(), "two keys are none");
}

/// A structured-field string (RFC 9651 §4.1.6): what has to be escaped is, and nothing else.
fn quoted(key: &str) -> String {
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What is taken as a message says the same to any other reader of JSON; what is refused as no JSON is none.
pub fn message(body: &[u8]) {
    let limits = MessageLimits::default();
    let whole = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str(text).ok());
    let is_object = whole.is_some_and(|_: HashMap<String, &RawValue>| true);
    match parse_message(body, &limits) {
        Ok(message) => {
            let other: Value = serde_json::from_slice(body).unwrap_or_default();
            assert_eq!(other["sender_number"], message.sender_number);
            assert_eq!(other["message_body"], message.message_body);
            assert_eq!(other.get("routing_key"), message.routing_key.map(Value::from).as_ref());
            let read = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
            assert_eq!(other.get("metadata"), message.metadata.as_deref().map(read).as_ref());
            if let Some(raw) = &message.metadata {
                assert!(!raw.get().contains(['\n', '\r']), "metadata of several lines");
                let again = metadata::compact(raw).map(|again| again.get().to_owned());
                assert_eq!(again.as_deref(), Ok(raw.get()), "compact metadata is not compact");
            }
            assert!(parse_item(body, &limits).is_ok(), "a message that cannot stand in a batch");
        }
        Err(problem) => {
            let codes = [Code::InvalidJson, Code::InvalidField, Code::UnknownField, Code::NotEnabled];
            check_refusal(&problem, &codes);
            assert_eq!(problem.code != Code::InvalidJson, is_object, "{}", problem.detail);
        }
    }
}

/// A refusal has one of these codes and is no echo.
pub(super) fn check_refusal(problem: &Problem, codes: &[Code]) {
    assert!(codes.contains(&problem.code), "refused with {}", problem.code);
    let shown = problem.to_json().len();
    assert!(shown <= LONGEST_DETAIL, "a refusal of {shown} bytes");
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// Names and values of members, good and bad ones.
    fn member() -> impl Strategy<Value = String> {
        let any = select(vec![
            "\"sender_number\"",
            "\"message_body\"",
            "\"metadata\"",
            "\"routing_key\"",
            "\"idempotency_key\"",
            "\"deliver_at\"",
            "\"\\u006detadata\"",
            "\"\\ud800\"",
        ]);
        let value = select(vec![
            "\"+1234567890\"",
            "\"hé\\u00e9\\n\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud800\"",
            "\"a.b:c\"",
            "\" \"",
            "{}",
            "{ \"a\" : [1, 2.50, null], \"b\\\"\" :\n{\"c\": \"  \"}}",
            "{\"a\\\\\" :\n\"\\\\\"\n}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"n\":1e999}",
            "[]",
            "null",
            "1",
        ]);
        let name = prop_oneof![Just("\"metadata\""), any];
        (name, value, "[ \t\r\n]{0,2}")
            .prop_map(|(name, value, space)| format!("{name}{space}:{space}{value}"))
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_header_is_one_key_or_none(value in "[ \t]?\"?[ab \"\\\\,;é]{0,6}\"?[ \t]?") {
            idempotency_key(value.as_bytes());
        }

        #[test]
        fn every_key_is_read_back_from_its_quoted_form(key in "[!-~]{1,255}") {
            let mut headers = HeaderMap::new();
            headers.append("idempotency-key", quoted(&key).parse().unwrap());
            prop_assert_eq!(idempotency_key::of_request(&headers).unwrap(), Some(key));
        }

        #[test]
        fn a_message_says_the_same_to_any_reader_of_json(
            required in any::<bool>(), members in vec(member(), 0..4), end in select(vec!["}", "} ", "", "}}"]),
        ) {
            let good = r#""sender_number":"+12","message_body":"x""#.to_owned();
            let members: Vec<_> = required.then_some(good).into_iter().chain(members).collect();
            message(format!("{{{}{end}", members.join(",")).as_bytes());
        }

        #[test]
        fn a_refusal_is_no_echo_of_what_was_sent(part in "[a-z\"\\\\é\u{1}]{1,8}", place in 0..5) {
            let name = Value::from(part.repeat(300));
            message(match place {
                0 => format!("{{{name}:1}}"),
                1 => format!(r#"{{"sender_number":{name},"message_body":"x"}}"#),
                2 => format!(r#"{{"sender_number":"+12","message_body":"x","metadata":{{{name}:1,{name}:1}}}}"#),
                3 => format!(r#"{{"sender_number":"+12","message_body":"x","routing_key":{name}}}"#),
                _ => format!("{{{name}:1,{name}:1"),
            }.as_bytes());
        }
    }
}
