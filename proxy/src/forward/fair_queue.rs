//! Messages that wait for a batch: a queue per client, served in turn.
//!
//! In: messages. Out: batches that take one message of each client in turn, so that a thousand messages of one
//! client delay another's single message by one. Refused: more than may wait, and of one client more than
//! there are free places, so that whoever comes later finds some.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use shared::identity::Name;
use tokio::sync::Notify;

use super::Waiting;

/// The bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// The queues. Many put in, one takes out.
#[derive(Debug)]
pub(super) struct FairQueue {
    queues: Mutex<Queues>,
    /// Something arrived, or nothing will any more.
    changed: Notify,
    places: usize,
}

/// As many messages wait as may, in all or of this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoPlace;

#[derive(Debug, Default)]
struct Queues {
    /// Every client that has a queue, once, the next one first.
    turns: VecDeque<Name>,
    /// None of them is empty.
    of_clients: HashMap<Name, VecDeque<Waiting>>,
    waiting: usize,
    closed: bool,
}

impl FairQueue {
    /// With room for so many messages.
    pub(super) fn new(places: usize) -> Self {
        Self { queues: Mutex::default(), changed: Notify::new(), places }
    }

    /// Puts a message at the end of its client's queue.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), NoPlace> {
        let mut queues = self.lock();
        let free = self.places.saturating_sub(queues.waiting);
        let client = waiting.message.client_id.clone();
        let own = queues.of_clients.get(&client).map_or(0, VecDeque::len);
        if own >= free {
            return Err(NoPlace);
        }
        queues.waiting += 1;
        if own == 0 {
            queues.turns.push_back(client.clone());
        }
        queues.of_clients.entry(client).or_default().push_back(waiting);
        drop(queues);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a message and takes whatever else waits already, within bounds. `None` when there will be no
    /// more.
    ///
    /// No timer: a lone message is sent at once, and under load the batch is what arrived while the earlier
    /// ones were on their way.
    pub(super) async fn collect(&self, bounds: Bounds) -> Option<Vec<Waiting>> {
        loop {
            {
                let mut queues = self.lock();
                let batch = queues.take(bounds);
                if !batch.is_empty() {
                    return Some(batch);
                }
                if queues.closed {
                    return None;
                }
            }
            // A push since the lock was released has left a permit.
            self.changed.notified().await;
        }
    }

    /// Nothing will be pushed any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// No code that holds it panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn take(&mut self, bounds: Bounds) -> Vec<Waiting> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < bounds.messages {
            let Some(client) = self.turns.pop_front() else { break };
            let Entry::Occupied(mut queue) = self.of_clients.entry(client.clone()) else { continue };
            let size = queue.get().front().map_or(0, |next| next.bytes);
            if !batch.is_empty() && bytes + size > bounds.bytes {
                // It is the first of the next batch.
                self.turns.push_front(client);
                break;
            }
            bytes += size;
            batch.extend(queue.get_mut().pop_front());
            if queue.get().is_empty() {
                queue.remove();
            } else {
                self.turns.push_back(client);
            }
        }
        self.waiting -= batch.len();
        batch
    }
}

#[cfg(test)]
mod tests {
    use shared::{identity::Fingerprint, wire::submit::SubmittedMessage};
    use tokio::{sync::oneshot, time::Instant};
    use uuid::Uuid;

    use super::*;

    const ALL: Bounds = Bounds { messages: 1000, bytes: 1000 };

    fn waiting(client: &str, text: &str, bytes: usize) -> Waiting {
        let message = SubmittedMessage {
            message_id: Uuid::now_v7(),
            client_id: client.parse().unwrap(),
            cert_fingerprint: Fingerprint::of_der(b"x"),
            request_id: Uuid::now_v7(),
            traceparent: None,
            sender_number: "+1234567890".into(),
            message_body: text.into(),
            metadata: None,
            routing_key: None,
            idempotency_key: None,
        };
        Waiting { message, bytes, deadline: Instant::now(), reply: oneshot::channel().0 }
    }

    fn texts(batch: &[Waiting]) -> String {
        batch.iter().map(|waiting| waiting.message.message_body.as_str()).collect()
    }

    #[tokio::test]
    async fn a_batch_takes_one_message_of_each_client_in_turn() {
        let queue = FairQueue::new(100);
        for (client, text) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("c", "5"), ("b", "6")] {
            queue.push(waiting(client, text, 1)).unwrap();
        }
        let two = Bounds { messages: 2, bytes: 1000 };
        assert_eq!(texts(&queue.collect(two).await.unwrap()), "14");
        // the turn is c's, not a's again
        assert_eq!(texts(&queue.collect(ALL).await.unwrap()), "5263");
    }

    #[tokio::test]
    async fn a_message_that_does_not_fit_is_the_first_of_the_next_batch() {
        let queue = FairQueue::new(100);
        for (text, bytes) in [("1", 600), ("2", 600), ("3", 5000), ("4", 1)] {
            queue.push(waiting("a", text, bytes)).unwrap();
        }
        for expected in ["1", "2", "3", "4"] {
            assert_eq!(texts(&queue.collect(ALL).await.unwrap()), expected);
        }
    }

    #[test]
    fn one_client_never_takes_the_last_place_of_the_others() {
        let queue = FairQueue::new(100);
        let taken_by =
            |client: &str| (0..100).filter(|_| queue.push(waiting(client, "x", 1)).is_ok()).count();
        assert_eq!([taken_by("a"), taken_by("b"), taken_by("c")], [50, 25, 13]);
        assert_eq!(FairQueue::new(1).push(waiting("a", "x", 1)), Ok(()));
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = FairQueue::new(100);
        queue.push(waiting("a", "1", 1)).unwrap();
        queue.close();
        assert_eq!(texts(&queue.collect(ALL).await.unwrap()), "1");
        assert!(queue.collect(ALL).await.is_none());
    }
}
