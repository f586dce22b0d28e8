//! The idempotency key of a request or of a batch's item: 1 to 255 visible ASCII characters.
//!
//! In: the header, a structured-field string (RFC 9651 §3.3.3) or bare as many clients send it; or a member's
//! text. Out: the key; both spellings of it are the same one. Refused: everything else, by name.

use http::{HeaderMap, HeaderName};
use shared::wire::{Code, Problem};

/// As in draft-ietf-httpapi-idempotency-key-header.
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The name in problems.
pub(super) const NAME: &str = "Idempotency-Key";
const LONGEST: usize = 255;

/// The key of a request, if it has one.
pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(NAME, "stands more than once"));
    }
    let text = value.to_str().unwrap_or_default().trim_matches([' ', '\t']);
    let key = if text.starts_with('"') { unquoted(text) } else { bare(text) };
    match key {
        Some(key) if is_key(&key) => Ok(Some(key)),
        _ => Err(invalid(NAME, "must be 1 to 255 visible ASCII characters, in double quotes")),
    }
}

/// Whether a text can be a key. Without white space: it would be lost in somebody's log or shell.
pub(super) fn is_key(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a structured-field string stands for. Parameters after it are refused: none is defined.
fn unquoted(text: &str) -> Option<String> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    let (mut key, mut characters) = (String::with_capacity(inside.len()), inside.chars());
    while let Some(character) = characters.next() {
        key.push(match character {
            '"' => return None,
            '\\' => characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            other => other,
        });
    }
    Some(key)
}

/// Characters that would make it a list, an item with parameters or half a string are not taken bare.
fn bare(text: &str) -> Option<String> {
    (!text.contains(['"', '\\', ',', ';'])).then(|| text.to_owned())
}

fn invalid(name: &str, text: &str) -> Problem {
    Problem::new(Code::InvalidField, format!("{name:?} {text}")).with("field", name)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        of_request(&headers)
    }

    #[test]
    fn a_key_is_read_quoted_or_bare() {
        let longest = "x".repeat(255);
        for (value, key) in [
            ("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            (" \"a\" ", "a"),
            (r#""a\"b\\c,;""#, r#"a"b\c,;"#),
            ("YWJj/+==", "YWJj/+=="),
            (&longest, &longest),
        ] {
            assert_eq!(read(&[value]).unwrap().as_deref(), Some(key), "{value}");
        }
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn what_is_no_key_is_refused_by_the_headers_name() {
        let too_long = format!("\"{}\"", "x".repeat(256));
        for value in [
            "",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "a b",
            "\"a b\"",
            "\"a\";p=1",
            "\"a\", \"b\"",
            "a,b",
            "a;b",
            r#""a\b""#,
            r#""a\""#,
            r#""a"b""#,
            "é",
            "\"\t\"",
            &too_long,
        ] {
            let problem = read(&[value]).unwrap_err();
            assert_eq!(
                (problem.code, &problem.members["field"]),
                (Code::InvalidField, &NAME.into()),
                "{value}"
            );
        }
        assert!(read(&["a", "a"]).is_err());
    }
}
