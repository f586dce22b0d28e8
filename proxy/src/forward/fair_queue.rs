//! Messages that wait for a batch: a queue per client, served in turn.
//!
//! In: messages. Out: batches that take one message of each client in turn, so that a thousand messages of one
//! client delay another's single message by one. Refused: more than may wait; of one client more than there are free
//! places, so that whoever comes later finds some; and what waits too long, while it is certain that it was not sent.
//!
//! How long is too long depends on the queue. A short one that empties again is a burst, and is worth waiting for. One
//! that has not been empty for so long as a message may wait is a standing one: it makes everybody late and nobody
//! served sooner, so that from then on a message may wait a twentieth of the time only, until nothing had to be refused
//! for the whole of it (Maurer, Fail at Scale, ACM Queue 13(8), after RFC 8289; without that last rule, each time
//! that the short patience had emptied the queue another burst would be let in).

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::identity::Name;
use tokio::{sync::Notify, time::Instant};

use super::{
    TooLate, Waiting,
    pace::{LATE, Pace},
};
use crate::config;

/// Of the time that a message may wait, in a standing queue.
const STANDING_PART: u32 = 20;

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
    /// Enough arrived for a batch, a batch is back, or nothing will arrive any more.
    changed: Notify,
    bounds: Bounds,
    places: usize,
    /// How long a message may wait.
    longest: Duration,
}

/// Why a message may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// As many messages wait as may, in all or of this client.
    Full,
    /// What came before it has waited too long already.
    Standing,
}

#[derive(Debug)]
struct Queues {
    /// Every client that has a queue, once, the next one first.
    turns: VecDeque<Name>,
    /// None of them is empty.
    of_clients: HashMap<Name, VecDeque<Timed>>,
    waiting: usize,
    /// Nothing waited then.
    empty_at: Instant,
    /// Something was refused then, for waiting too long.
    shed_at: Option<Instant>,
    pace: Pace,
    closed: bool,
}

/// A place on the way, for as long as its batch needs it.
#[derive(Debug)]
pub(super) struct Place(Arc<FairQueue>);

/// A message, and until when it may wait.
#[derive(Debug)]
struct Timed {
    waiting: Waiting,
    until: Instant,
}

impl FairQueue {
    /// With the room, the time and the bounds of `[upstream]`.
    pub(super) fn new(config: &config::Upstream) -> Self {
        let servers = config.servers.len();
        let queues = Queues {
            turns: VecDeque::new(),
            of_clients: HashMap::new(),
            waiting: 0,
            empty_at: Instant::now(),
            shed_at: None,
            pace: Pace::new(config.in_flight * servers, servers),
            closed: false,
        };
        Self {
            queues: Mutex::new(queues),
            changed: Notify::new(),
            bounds: Bounds { messages: config.batch_messages, bytes: config.batch_bytes.0 },
            places: config.waiting,
            longest: config.waiting_time.0,
        }
    }

    /// How long a message may wait in a standing queue.
    pub(super) fn patience(&self) -> Duration {
        // waiting for company is no reason to be refused
        (self.longest / STANDING_PART).max(2 * LATE)
    }

    /// Puts a message at the end of its client's queue.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), NoPlace> {
        let mut queues = self.lock();
        let now = waiting.since;
        if queues.waiting == 0 {
            queues.empty_at = now;
        }
        let patience = if queues.stands(self.longest, now) { self.patience() } else { self.longest };
        let free = self.places.saturating_sub(queues.waiting);
        let client = waiting.message.client_id.clone();
        let own = queues.of_clients.get(&client);
        let first = own.and_then(VecDeque::front).map(|first| first.waiting.since);
        let own = own.map_or(0, VecDeque::len);
        // it would wait longer than the one before it has
        if first.is_some_and(|since| since + patience < now) {
            queues.shed_at = Some(now);
            return Err(NoPlace::Standing);
        }
        if own >= free {
            return Err(NoPlace::Full);
        }
        queues.waiting += 1;
        if own == 0 {
            queues.turns.push_back(client.clone());
        }
        let timed = Timed { waiting, until: now + patience };
        queues.of_clients.entry(client).or_default().push_back(timed);
        let enough = queues.is_enough(self.bounds, now);
        drop(queues);
        if enough {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Waits until a batch may leave (see [`Pace`]) and takes whatever waits, within bounds. `None` when there will be no
    /// more.
    pub(super) async fn collect(self: &Arc<Self>) -> Option<(Vec<Waiting>, Place)> {
        loop {
            let (batch, late, closed) = {
                let mut queues = self.lock();
                let now = Instant::now();
                let enough = queues.is_enough(self.bounds, now);
                let (batch, late) = if enough { queues.take(self.bounds, now) } else { Default::default() };
                if !batch.is_empty() {
                    queues.pace.left(batch.len(), now);
                }
                (batch, late, queues.closed && queues.waiting == 0)
            };
            refuse(late);
            if !batch.is_empty() {
                return Some((batch, Place(self.clone())));
            }
            if closed {
                return None;
            }
            // Whatever changed since the lock was released has left a permit.
            self.changed.notified().await;
        }
    }

    /// Refuses what has waited too long, and sees whether what waits has waited long enough for company; false when
    /// nothing will be pushed any more.
    pub(super) fn look_after(&self) -> bool {
        let (late, enough, closed) = {
            let (mut queues, now) = (self.lock(), Instant::now());
            (queues.take_late(now), queues.is_enough(self.bounds, now), queues.closed)
        };
        refuse(late);
        // with the last one gone, whoever collects is to see that there will be no more
        if enough || closed {
            self.changed.notify_one();
        }
        !closed
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

impl Drop for Place {
    fn drop(&mut self) {
        let enough = {
            let mut queues = self.0.lock();
            queues.pace.back();
            queues.is_enough(self.0.bounds, Instant::now())
        };
        if enough {
            self.0.changed.notify_one();
        }
    }
}

fn refuse(late: Vec<Waiting>) {
    for waiting in late {
        // its client may have gone away
        let _ = waiting.reply.send(Err(TooLate));
    }
}

impl Queues {
    /// Whether a batch may leave. As many as fill one do not wait for company, nor does anybody when no more can come.
    fn is_enough(&self, bounds: Bounds, now: Instant) -> bool {
        let Some(enough) = self.pace.enough(now) else { return false };
        self.waiting > 0 && (self.closed || self.waiting >= enough.min(bounds.messages))
    }

    /// Whether the queue stands, and does not only hold a burst.
    fn stands(&self, longest: Duration, now: Instant) -> bool {
        let filled_for = now.saturating_duration_since(self.empty_at);
        let shed_before = self.shed_at.map(|shed| now.saturating_duration_since(shed));
        filled_for > longest || shed_before.is_some_and(|passed| passed < longest)
    }

    /// A batch, and what has waited too long to be in it.
    fn take(&mut self, bounds: Bounds, now: Instant) -> (Vec<Waiting>, Vec<Waiting>) {
        let (mut batch, mut late, mut bytes) = (Vec::new(), Vec::new(), 0);
        while batch.len() < bounds.messages {
            let Some(client) = self.turns.pop_front() else { break };
            let Entry::Occupied(mut queue) = self.of_clients.entry(client.clone()) else { continue };
            pop_late(queue.get_mut(), now, &mut late);
            if queue.get().is_empty() {
                queue.remove();
                continue;
            }
            let size = queue.get().front().map_or(0, |next| next.waiting.bytes);
            if !batch.is_empty() && bytes + size > bounds.bytes {
                // It is the first of the next batch.
                self.turns.push_front(client);
                break;
            }
            bytes += size;
            batch.extend(queue.get_mut().pop_front().map(|next| next.waiting));
            if queue.get().is_empty() {
                queue.remove();
            } else {
                self.turns.push_back(client);
            }
        }
        self.took(batch.len(), late.len(), now);
        (batch, late)
    }

    /// What has waited too long. Of each client the first ones are looked at: one behind them that may wait less than
    /// they, because the queue became a standing one in between, goes when they have gone.
    fn take_late(&mut self, now: Instant) -> Vec<Waiting> {
        let mut late = Vec::new();
        self.of_clients.values_mut().for_each(|queue| pop_late(queue, now, &mut late));
        if !late.is_empty() {
            self.of_clients.retain(|_, queue| !queue.is_empty());
            self.turns.retain(|client| self.of_clients.contains_key(client));
            self.took(0, late.len(), now);
        }
        late
    }

    fn took(&mut self, sent: usize, late: usize, now: Instant) {
        self.waiting -= sent + late;
        if late > 0 {
            self.shed_at = Some(now);
        }
        if self.waiting == 0 {
            self.empty_at = now;
        }
    }
}

fn pop_late(queue: &mut VecDeque<Timed>, now: Instant, late: &mut Vec<Waiting>) {
    while queue.front().is_some_and(|first| first.until < now) {
        late.extend(queue.pop_front().map(|first| first.waiting));
    }
}
