//! The bytes of a request, made once; only the numbers in it change from one to the next.
//!
//! A message is 300 bytes of JSON. Every one has another sender number, as in life.

use super::connection::HOST;
use crate::load::Ask;

/// Bytes of one message.
pub(crate) const MESSAGE_BYTES: usize = 300;
/// The digits of a sender number that change.
const DIGITS: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Where the changing digits are.
    places: Vec<usize>,
    /// What a success answers.
    pub(super) success: u16,
    /// Messages in it; 1 also for a request without any.
    pub(super) messages: u64,
}

impl Request {
    pub(super) fn new(ask: Ask) -> Self {
        match ask {
            Ask::Health => Self {
                bytes: format!("GET /health HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes(),
                places: Vec::new(),
                success: 200,
                messages: 1,
            },
            Ask::Message => Self::post("/api/v1/messages", &message(), 202, 1),
            Ask::Batch(messages) => {
                let body = format!("[{}]", vec![message(); messages].join(","));
                Self::post("/api/v1/messages/batch", &body, 200, messages as u64)
            }
        }
    }

    /// A POST of JSON.
    pub(super) fn post(path: &str, body: &str, success: u16, messages: u64) -> Self {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let bytes = (head + body).into_bytes();
        let places =
            bytes.windows(PREFIX.len()).enumerate().filter(|(_, window)| window == &PREFIX.as_bytes());
        let places = places.map(|(at, _)| at + PREFIX.len()).collect();
        Self { bytes, places, success, messages }
    }

    /// The next one's bytes; numbers are counted on in `counter`.
    pub(super) fn next(&mut self, counter: &mut u64) -> &[u8] {
        for place in &self.places {
            *counter += 1;
            let mut rest = *counter;
            for digit in self.bytes[*place..place + DIGITS].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
        }
        &self.bytes
    }
}

const PREFIX: &str = r#"{"sender_number":"+491"#;

/// One message.
pub(super) fn message() -> String {
    let begin = format!(r#"{PREFIX}00000000","message_body":""#);
    let end = r#""}"#;
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(8);
    format!("{begin}{}{end}", &text[..MESSAGE_BYTES - begin.len() - end.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_each_another_number() {
        assert_eq!(message().len(), MESSAGE_BYTES);
        let mut batch = Request::new(Ask::Batch(3));
        let mut counter = 9;
        let text = String::from_utf8(batch.next(&mut counter).to_vec()).unwrap();
        for number in ["+49100000010", "+49100000011", "+49100000012"] {
            assert_eq!(text.matches(number).count(), 1, "{number} in {text}");
        }
        assert_eq!(counter, 12);
    }
}
