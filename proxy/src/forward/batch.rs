//! A batch: as many waiting messages as fit into one request to a main server.

use shared::wire::submit::SubmittedMessage;
use tokio::{sync::mpsc, time::Instant};

use super::Waiting;

/// JSON around a message: names, ids, fingerprint, quotes.
const ENVELOPE: usize = 512;

/// About the bytes that a message adds to a batch; escaping may double a text.
pub(super) fn estimate(message: &SubmittedMessage) -> usize {
    ENVELOPE
        + message.message_body.len()
        + message.metadata.as_ref().map_or(0, |metadata| metadata.get().len())
        + message.routing_key.as_ref().map_or(0, String::len)
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
