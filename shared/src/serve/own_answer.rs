//! The answers that hyper gives by itself, made into problems.
//!
//! hyper answers what is no HTTP/1.1 request with 400, 414 or 431, without a body, and then ends the connection; no
//! handler hears of it, and no option changes it. In: the bytes that hyper writes. Out: where in them such an answer
//! begins, if they end with one, and what is sent instead. Answers of ours never look so: each 4xx has a body.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use tracing::info;
use uuid::Uuid;

use super::{Connection, metrics::Bound};
use crate::{
    telemetry::ACCESS,
    wire::{Code, Problem},
};

/// hyper's is shorter: a status line, `content-length`, `date`, perhaps `connection`.
const LONGEST: usize = 200;

/// Writes to one connection, with ours in the place of hyper's.
#[derive(Debug, Default)]
pub(super) struct OwnAnswers {
    /// What is written in the place of the last of hyper's bytes, and from where on.
    instead: Option<(OwnAnswer, usize)>,
}

/// An answer to be sent in the place of hyper's.
#[derive(Debug)]
struct OwnAnswer {
    bytes: Vec<u8>,
    code: Code,
    bound: Bound,
    request_id: Uuid,
}

impl OwnAnswers {
    /// As the stream's own; none of hyper's answer counts as written before all of ours is.
    pub(super) fn poll_write(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
        bytes: &[u8],
        connection: &Connection,
    ) -> Poll<io::Result<usize>> {
        let (answer, mut from) = match (self.instead.take(), find(bytes)) {
            (Some(begun), _) => begun,
            (None, None) => return stream.poll_write(cx, bytes),
            (None, Some((0, status))) => {
                let answer = OwnAnswer::instead_of(status);
                answer.tell(connection);
                (answer, 0)
            }
            (None, Some((before, _))) => return stream.poll_write(cx, &bytes[..before]),
        };
        while from < answer.bytes.len() {
            match stream.as_mut().poll_write(cx, &answer.bytes[from..]) {
                Poll::Ready(Ok(written)) => from += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some((answer, from));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }
}

/// Where hyper's own answer begins, and its status; only at the end, for nothing follows it.
fn find(bytes: &[u8]) -> Option<(usize, u16)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = bytes.len().saturating_sub(LONGEST);
    let begin = tail + bytes[tail..].windows(9).rposition(|window| window == b"HTTP/1.1 ")?;
    let head = std::str::from_utf8(&bytes[begin..]).ok()?;
    let status = head.get(9..12)?.parse().ok().filter(|status| matches!(status, 400 | 414 | 431))?;
    let empty = head.contains("\r\ncontent-length: 0\r\n") && !head.contains("\r\ncontent-type:");
    empty.then_some((begin, status))
}

impl OwnAnswer {
    fn instead_of(status: u16) -> Self {
        let (code, bound, detail) = match status {
            414 => (Code::UriTooLong, Bound::TargetBytes, "the target is longer than any that is read here"),
            431 => (
                Code::HeadTooLarge,
                Bound::HeadBytes,
                "the head has more lines or bytes than any that is read here",
            ),
            _ => (Code::InvalidRequest, Bound::Malformed, "this is no HTTP/1.1 request (RFC 9112)"),
        };
        let request_id = Uuid::now_v7();
        let body = Problem::new(code, detail).of_request(request_id).to_json();
        let reason = code.status();
        let bytes = format!(
            "HTTP/1.1 {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             x-request-id: {request_id}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        Self { bytes: bytes.into_bytes(), code, bound, request_id }
    }

    /// The line and the count that any other request has from its door.
    fn tell(&self, connection: &Connection) {
        connection.reached(self.bound);
        info!(
            target: ACCESS,
            request_id = %self.request_id,
            fingerprint = %connection.peer.certificate.fingerprint,
            remote = %connection.remote,
            status = self.code.status().as_u16(),
            code = self.code.as_str(),
            "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_refusal_at_the_end_is_hypers_own() {
        let own = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        assert_eq!(find(own.as_bytes()), Some((0, 400)));
        let earlier = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(find(format!("{earlier}{own}").as_bytes()), Some((earlier.len(), 400)));
        for ours in [
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
            "\r\n\r\n",
        ] {
            assert_eq!(find(ours.as_bytes()), None, "{ours:?}");
        }
    }

    #[test]
    fn it_is_a_problem_with_a_request_id() {
        for (status, code) in [(400, "invalid_request"), (414, "uri_too_long"), (431, "head_too_large")] {
            let answer = String::from_utf8(OwnAnswer::instead_of(status).bytes).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            assert_eq!(problem["code"], code);
            assert!(head.contains(problem["request_id"].as_str().unwrap()), "{head}");
        }
    }
}
