//! What a client posts: validated member by member.
//!
//! In: a body. Out: a [`Message`]. Refused, by name: text that is no JSON object, a member that is
//! missing, repeated, unknown, not built yet, or has a value it cannot have.

use serde_json::{error::Category, value::RawValue};
use shared::wire::{Code, Problem};

use super::{
    idempotency_key::is_key,
    members::{Members, shown},
    metadata,
};
use crate::config::MessageLimits;

/// Members that the API reserves and this server does not offer yet.
const NOT_BUILT: [&str; 5] = ["priority", "deliver_at", "expires_at", "ordering_key", "sealed_body"];

/// The longest routing key, as in AMQP 0-9-1 (a short string).
const ROUTING_KEY_BYTES: usize = 255;

/// One valid message, and the key that a batch's item may have for itself.
#[derive(Debug)]
pub struct Message {
    /// E.164: `+`, then 2 to 15 ASCII digits, the first not 0.
    pub sender_number: String,
    /// Not blank, at most so many characters.
    pub message_body: String,
    /// A JSON object, without insignificant white space.
    pub metadata: Option<Box<RawValue>>,
    /// Where the client wants it to go.
    pub routing_key: Option<String>,
    /// Only in a batch; a single message has it in a header.
    pub idempotency_key: Option<String>,
}

/// Reads one message.
pub fn parse_message(body: &[u8], limits: &MessageLimits) -> Result<Message, Problem> {
    parse(body, limits, false)
}

/// Reads one message of a batch, which may have an idempotency key of its own.
pub(super) fn parse_item(item: &[u8], limits: &MessageLimits) -> Result<Message, Problem> {
    parse(item, limits, true)
}

fn parse(body: &[u8], limits: &MessageLimits, of_batch: bool) -> Result<Message, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Problem::new(Code::InvalidJson, format!("the body is not UTF-8: {error}")))?;
    let Members(members) = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;

    let mut found: [Option<&RawValue>; 5] = [None; 5];
    for (name, value) in members {
        let slot = match &*name {
            "sender_number" => &mut found[0],
            "message_body" => &mut found[1],
            "metadata" => &mut found[2],
            "routing_key" => &mut found[3],
            "idempotency_key" if of_batch => &mut found[4],
            later if NOT_BUILT.contains(&later) => {
                return Err(problem(Code::NotEnabled, later, "is not enabled on this server"));
            }
            unknown => return Err(problem(Code::UnknownField, unknown, "is not a member of a message")),
        };
        if slot.replace(value).is_some() {
            return Err(invalid(&name, "stands more than once"));
        }
    }
    let [sender_number, message_body, metadata, routing_key, idempotency_key] = found;
    Ok(Message {
        sender_number: read_sender_number(sender_number)?,
        message_body: read_message_body(message_body, limits.characters)?,
        metadata: read_metadata(metadata)?,
        routing_key: read_routing_key(routing_key)?,
        idempotency_key: read_idempotency_key(idempotency_key)?,
    })
}

fn read_sender_number(raw: Option<&RawValue>) -> Result<String, Problem> {
    let name = "sender_number";
    let number = required_string(name, raw)?;
    // Byte by byte: `char::is_numeric` would take Arabic-Indic digits, `trim` a trailing newline.
    let valid = match number.as_bytes() {
        [b'+', b'1'..=b'9', rest @ ..] => {
            (1..=14).contains(&rest.len()) && rest.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    if valid {
        return Ok(number);
    }
    Err(invalid(name, "must be an E.164 number: '+', then 2 to 15 digits 0-9, the first not 0"))
}

fn read_message_body(raw: Option<&RawValue>, most: usize) -> Result<String, Problem> {
    let name = "message_body";
    let body = required_string(name, raw)?;
    if body.chars().all(char::is_whitespace) {
        return Err(invalid(name, "must not be blank"));
    }
    let characters = body.chars().count();
    if characters > most {
        let text = format!("has {characters} characters; at most {most} are allowed");
        return Err(invalid(name, &text));
    }
    Ok(body)
}

fn read_metadata(raw: Option<&RawValue>) -> Result<Option<Box<RawValue>>, Problem> {
    raw.map(|raw| metadata::compact(raw).map_err(|text| invalid("metadata", &text))).transpose()
}

fn read_routing_key(raw: Option<&RawValue>) -> Result<Option<String>, Problem> {
    let name = "routing_key";
    let Some(raw) = raw else { return Ok(None) };
    let key = string(name, raw)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    if (1..=ROUTING_KEY_BYTES).contains(&key.len()) && key.bytes().all(legal) {
        return Ok(Some(key));
    }
    Err(invalid(name, "must be 1 to 255 characters out of A-Z, a-z, 0-9 and '.', '_', ':', '/', '-'"))
}

fn read_idempotency_key(raw: Option<&RawValue>) -> Result<Option<String>, Problem> {
    let name = "idempotency_key";
    let Some(raw) = raw else { return Ok(None) };
    let key = string(name, raw)?;
    if is_key(&key) { Ok(Some(key)) } else { Err(invalid(name, "must be 1 to 255 visible ASCII characters")) }
}

fn required_string(name: &str, raw: Option<&RawValue>) -> Result<String, Problem> {
    string(name, raw.ok_or_else(|| invalid(name, "is required"))?)
}

fn string(name: &str, raw: &RawValue) -> Result<String, Problem> {
    if !raw.get().starts_with('"') {
        return Err(invalid(name, "must be a string"));
    }
    serde_json::from_str(raw.get()).map_err(|error| invalid(name, &format!("is not a valid string: {error}")))
}

fn not_json(text: &str, error: &serde_json::Error) -> Problem {
    let detail = match error.classify() {
        Category::Eof if text.trim().is_empty() => "the body is empty".to_owned(),
        Category::Data => "the body must be one JSON object".to_owned(),
        _ => format!("the body is not valid JSON: {error}"),
    };
    Problem::new(Code::InvalidJson, detail)
}

fn invalid(name: &str, text: &str) -> Problem {
    problem(Code::InvalidField, name, text)
}

/// Names the member, as a JSON Pointer (RFC 6901) too.
fn problem(code: Code, name: &str, text: &str) -> Problem {
    let shown = shown(name);
    let pointer = format!("/{}", shown.replace('~', "~0").replace('/', "~1"));
    Problem::new(code, format!("{shown:?} {text}")).with("field", pointer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Message, Problem> {
        parse_message(body.as_bytes(), &MessageLimits::default())
    }

    fn refused(body: &str) -> (Code, String) {
        let problem = parse(body).unwrap_err();
        let field = problem.members.get("field").and_then(|field| field.as_str()).unwrap_or_default();
        (problem.code, field.to_owned())
    }

    fn with_number(number: &str) -> String {
        serde_json::json!({"sender_number": number, "message_body": "hello"}).to_string()
    }

    fn with_body(body: &str) -> String {
        serde_json::json!({"sender_number": "+1234567890", "message_body": body}).to_string()
    }

    #[test]
    fn a_whole_message_is_read() {
        let message = parse(
            r#" {"sender_number":"+1234567890","message_body":"hé\u00e9\n","metadata":{ "a" : 1 },"routing_key":"a.b"} "#,
        )
        .unwrap();
        assert_eq!(message.sender_number, "+1234567890");
        assert_eq!(message.message_body, "héé\n");
        assert_eq!(message.metadata.unwrap().get(), r#"{"a":1}"#);
        assert_eq!(message.routing_key.as_deref(), Some("a.b"));
    }

    #[test]
    fn numbers_that_are_not_e164_are_refused() {
        for good in ["+12", "+123456789012345"] {
            assert!(parse(&with_number(good)).is_ok(), "{good}");
        }
        let arabic_indic = "+١٢٣٤٥٦٧";
        for bad in [
            "",
            "+",
            "+1",
            "1234567",
            "+0123456",
            "+1234567\n",
            "+1234567890123456",
            arabic_indic,
            "+12 34",
            " +1234",
        ] {
            assert_eq!(refused(&with_number(bad)), (Code::InvalidField, "/sender_number".into()), "{bad:?}");
        }
    }

    #[test]
    fn bodies_are_counted_in_characters_and_may_not_be_blank() {
        assert!(parse(&with_body(&"é".repeat(1000))).is_ok());
        for bad in ["", "  \n\t", "\u{a0}\u{2003}", &"x".repeat(1001)] {
            assert_eq!(refused(&with_body(bad)), (Code::InvalidField, "/message_body".into()));
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for bad in ["", " ", "{", "[]", "null", "\"x\"", "{\"a\":1}}", "{'a':1}", "\u{feff}{}", "{\"a\":1,}"]
        {
            assert_eq!(refused(bad).0, Code::InvalidJson, "{bad}");
        }
        assert_eq!(parse_message(b"\xff{}", &MessageLimits::default()).unwrap_err().code, Code::InvalidJson);
    }

    #[test]
    fn repeated_unknown_missing_and_later_members_are_refused_by_name() {
        let twice = r#"{"sender_number":"+12","sender_number":"+13","message_body":"x"}"#;
        assert_eq!(refused(twice), (Code::InvalidField, "/sender_number".into()));
        let unknown = r#"{"sender_number":"+12","message_body":"x","a/b":1}"#;
        assert_eq!(refused(unknown), (Code::UnknownField, "/a~1b".into()));
        assert_eq!(refused(r#"{"sender_number":"+12"}"#), (Code::InvalidField, "/message_body".into()));
        let later = r#"{"sender_number":"+12","message_body":"x","deliver_at":"2030-01-01T00:00:00Z"}"#;
        assert_eq!(refused(later), (Code::NotEnabled, "/deliver_at".into()));
        assert_eq!(refused(r#"{"sender_number":12,"message_body":"x"}"#).1, "/sender_number");
        assert_eq!(refused(r#"{"sender_number":"+12","message_body":"x","metadata":[]}"#).1, "/metadata");
        assert_eq!(
            refused(r#"{"sender_number":"+12","message_body":"x","routing_key":"a b"}"#).1,
            "/routing_key"
        );
        assert_eq!(refused(r#"{"sender_number":"+12","message_body":"\ud800"}"#).1, "/message_body");
    }
}
