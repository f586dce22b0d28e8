//! A batch: how much a message adds to it, and which messages are not worth sending any more.

use shared::wire::submit::SubmittedMessage;
use tokio::time::Instant;

use super::Waiting;

/// JSON around a message: names, ids, fingerprint, quotes.
const ENVELOPE: usize = 512;
/// JSON around an idempotency key: names, index, a batch's digest.
const KEY: usize = 160;

/// At least the bytes that a message adds to a batch. A client chooses what has to be escaped: were that not
/// counted, it could make a batch that no main server takes, and its neighbours would not be stored either.
pub(super) fn estimate(message: &SubmittedMessage) -> usize {
    ENVELOPE
        + escaped(&message.message_body)
        + message.metadata.as_ref().map_or(0, |metadata| metadata.get().len())
        + message.routing_key.as_ref().map_or(0, String::len)
        + message.idempotency_key.as_ref().map_or(0, |own| KEY + escaped(&own.key))
}

/// How long a text is in JSON, at most: a control character is written `\u0001`. In runs whose sum fits in a byte, so that
/// the compiler adds sixteen bytes at once.
fn escaped(text: &str) -> usize {
    let added = |&byte: &u8| u8::from(byte < 0x20) * 5 + u8::from(byte == b'"' || byte == b'\\');
    let runs = text.as_bytes().chunks(48);
    text.len() + runs.map(|run| usize::from(run.iter().map(added).sum::<u8>())).sum::<usize>()
}

/// Drops the messages whose client was answered already, because its time was over or it went away.
pub(super) fn drop_answered(batch: &mut Vec<Waiting>) {
    let now = Instant::now();
    batch.retain(|waiting| !waiting.reply.is_closed() && waiting.deadline > now);
}

#[cfg(test)]
mod tests {
    use shared::wire::submit::IdempotencyKey;

    use super::*;

    #[test]
    fn a_batch_within_its_bytes_is_within_them_on_the_wire() {
        let name = "x".repeat(64);
        let message = |message_body: &str| SubmittedMessage {
            message_id: uuid::Uuid::max(),
            client_id: name.parse().unwrap(),
            cert_fingerprint: shared::identity::Fingerprint::of_der(b"x"),
            request_id: uuid::Uuid::max(),
            traceparent: Some("0".repeat(55)),
            sender_number: "+123456789012345".into(),
            message_body: message_body.into(),
            metadata: serde_json::from_str("{\"a\":\"\\u0001\"}").ok(),
            routing_key: Some("x".repeat(255)),
            idempotency_key: Some(IdempotencyKey {
                key: "\"".repeat(255),
                index: Some(u32::MAX),
                batch: Some("0".repeat(64)),
            }),
        };
        // a client chooses what has to be escaped, and must not make a batch that no main server takes
        for text in ["", "plain é", "\u{1}\u{1f}", "\n\"\\", "\u{7f}\u{2028}"] {
            let message = message(&text.repeat(1000));
            let on_the_wire = serde_json::to_vec(&message).unwrap().len();
            assert!(estimate(&message) > on_the_wire, "{text:?}: {} for {on_the_wire}", estimate(&message));
        }
    }
}
