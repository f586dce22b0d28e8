//! One line: in, a leased job; out, compact JSON that ends in its only newline. Back: the message id of a line.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::{
    identity::{Fingerprint, Name},
    wire::lease::LeasedJob,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// A longer line is neither written nor taken for one of ours; a message is a tenth of this at most. It bounds
/// the memory of reading a file that holds anything but lines.
pub(super) const MAX_LINE: usize = 4 * 1024 * 1024;

/// A leased job without its token: the token is a right, not a fact about the message.
#[derive(Serialize)]
struct Line<'a> {
    job_id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    lease_expires_at: OffsetDateTime,
    queue: &'a Name,
    attempt: u32,
    message_id: Uuid,
    client_id: &'a Name,
    cert_fingerprint: Fingerprint,
    proxy: &'a Name,
    request_id: Uuid,
    traceparent: Option<&'a str>,
    sender_number: &'a str,
    message_body: &'a str,
    metadata: Option<Box<RawValue>>,
    routing_key: Option<&'a str>,
    #[serde(with = "time::serde::rfc3339")]
    queued_at: OffsetDateTime,
}

/// Appends the job's line to `buffer`; on an error the buffer is as it was.
pub(super) fn write(buffer: &mut Vec<u8>, job: &LeasedJob) -> Result<(), String> {
    let start = buffer.len();
    let written = line_of(job).and_then(|line| serde_json::to_writer(&mut *buffer, &line));
    let length = buffer.len() - start;
    let refused = match written {
        Ok(()) if length < MAX_LINE => {
            buffer.push(b'\n');
            return Ok(());
        }
        Ok(()) => format!("the line would have {length} bytes, more than {MAX_LINE}"),
        Err(error) => format!("the job cannot be written as JSON: {error}"),
    };
    buffer.truncate(start);
    Err(refused)
}

fn line_of(job: &LeasedJob) -> serde_json::Result<Line<'_>> {
    // Without `..`: a field added to the wire does not compile until it has a place on the line.
    let LeasedJob {
        job_id,
        lease_token: _,
        lease_expires_at,
        queue,
        attempt,
        message_id,
        client_id,
        cert_fingerprint,
        proxy,
        request_id,
        traceparent,
        sender_number,
        message_body,
        metadata,
        routing_key,
        queued_at,
    } = job;
    Ok(Line {
        job_id: *job_id,
        lease_expires_at: *lease_expires_at,
        queue,
        attempt: *attempt,
        message_id: *message_id,
        client_id,
        cert_fingerprint: *cert_fingerprint,
        proxy,
        request_id: *request_id,
        traceparent: traceparent.as_deref(),
        sender_number,
        message_body,
        metadata: metadata.as_deref().map(compact).transpose()?,
        routing_key: routing_key.as_deref(),
        queued_at: *queued_at,
    })
}

/// Drops the white space between tokens, where alone JSON allows a raw newline (RFC 8259 §2). The client's
/// own spelling of numbers, order and repeated members stay; parsing and writing again would lose them.
fn compact(json: &RawValue) -> serde_json::Result<Box<RawValue>> {
    let mut in_string = false;
    let mut escaped = false;
    let kept = json.get().chars().filter(|&character| {
        let keep = in_string || !matches!(character, ' ' | '\t' | '\n' | '\r');
        match character {
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && character == '\\' && !escaped;
        keep
    });
    RawValue::from_string(kept.collect())
}

/// The message id of a line; none when the line is not one of ours.
pub(super) fn message_id(line: &[u8]) -> Option<u128> {
    #[derive(Deserialize)]
    struct Identified {
        message_id: Uuid,
    }
    // Parsed, not searched for: the text of another message may spell a message id.
    serde_json::from_slice::<Identified>(line).ok().map(|line| line.message_id.as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_space_between_tokens_is_dropped() {
        let raw = "{ \"a b\" : [1.0e+2,\r\n\t2 ],\n\"q\\\" \\\\\" : \" x \" , \"q\\\" \\\\\": 10000000000000000000001 }";
        let kept = compact(&RawValue::from_string(raw.to_owned()).unwrap()).unwrap();
        assert_eq!(
            kept.get(),
            "{\"a b\":[1.0e+2,2],\"q\\\" \\\\\":\" x \",\"q\\\" \\\\\":10000000000000000000001}"
        );
    }

    #[test]
    fn a_message_id_inside_the_text_is_not_the_lines_id() {
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let line = format!(
            "{{\"message_body\":\"\\\"message_id\\\":\\\"{other}\\\"\",\"metadata\":{{\"message_id\":\"{other}\"}},\"message_id\":\"{id}\"}}"
        );
        assert_eq!(message_id(line.as_bytes()), Some(1));
        assert_eq!(message_id(b"{\"message_body\":\"x\"}"), None);
        assert_eq!(message_id(b"\0\0\0"), None);
    }
}
