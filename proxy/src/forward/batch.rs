//! A batch: as many waiting messages as fit into one request to a main server.

use shared::wire::submit::SubmittedMessage;
use tokio::{sync::mpsc, time::Instant};

use super::Waiting;

/// JSON around a message: names, ids, fingerprint, quotes.
const ENVELOPE: usize = 512;

/// At least the bytes that a message adds to a batch. A client chooses what has to be escaped: were that not
/// counted, it could make a batch that no main server takes, and its neighbours would not be stored either.
pub(super) fn estimate(message: &SubmittedMessage) -> usize {
    ENVELOPE
        + message.message_body.bytes().map(escaped).sum::<usize>()
        + message.metadata.as_ref().map_or(0, |metadata| metadata.get().len())
        + message.routing_key.as_ref().map_or(0, String::len)
}

/// How long a byte of a text is in JSON, at most: a control character is written `\u0001`.
const fn escaped(byte: u8) -> usize {
    match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    }
}

/// The bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// Waits for a message and takes whatever else waits already, in order. None when there will be no more.
///
/// No timer: a lone message is sent at once, and under load the batch is what arrived while the earlier
/// ones were on their way.
pub(super) async fn collect(
    receiver: &mut mpsc::Receiver<Waiting>,
    carried: &mut Option<Waiting>,
    bounds: Bounds,
) -> Option<Vec<Waiting>> {
    let first = match carried.take() {
        Some(waiting) => waiting,
        None => receiver.recv().await?,
    };
    let mut bytes = first.bytes;
    let mut batch = vec![first];
    while batch.len() < bounds.messages {
        let Ok(next) = receiver.try_recv() else { break };
        if bytes + next.bytes > bounds.bytes {
            *carried = Some(next);
            break;
        }
        bytes += next.bytes;
        batch.push(next);
    }
    Some(batch)
}

/// Drops the messages whose client was answered already, because its time was over or it went away.
pub(super) fn drop_answered(batch: &mut Vec<Waiting>) {
    let now = Instant::now();
    batch.retain(|waiting| !waiting.reply.is_closed() && waiting.deadline > now);
}

#[cfg(test)]
mod tests {
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
            idempotency_key: None,
        };
        // a client chooses what has to be escaped, and must not make a batch that no main server takes
        for text in ["", "plain é", "\u{1}\u{1f}", "\n\"\\", "\u{7f}\u{2028}"] {
            let message = message(&text.repeat(1000));
            let on_the_wire = serde_json::to_vec(&message).unwrap().len();
            assert!(estimate(&message) > on_the_wire, "{text:?}: {} for {on_the_wire}", estimate(&message));
        }
    }
}
