//! Which main server is asked next: in, how each of them answered; out, an order to try them in. Every question
//! goes to the next one in turn, so that several share the work and one that was restarted gets its share again;
//! those that did not answer rest for a while, and are asked only when no other answers.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use url::Url;
use uuid::Uuid;

use crate::backoff::Backoff;

/// One that is off costs a connect timeout each time it is asked; longer than this it is not left alone.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The main servers, in turn.
#[derive(Debug)]
pub(super) struct Turns {
    servers: Vec<Server>,
    next: AtomicUsize,
}

/// One main server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: Url,
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Turns {
    /// Begins with any of them: workers that start together do not all begin with the first. The first rest
    /// after a failure is `rest`, and each further one twice as long.
    pub(super) fn new(urls: Vec<Url>, rest: Duration) -> Self {
        let servers = urls.into_iter().map(|url| {
            let backoff = Backoff::new(rest, LONGEST_REST.max(rest));
            Server { url, rest: Mutex::new(Rest { backoff, until: None }) }
        });
        // The lowest bits of a version 4 UUID are random.
        let first = (Uuid::new_v4().as_u128() & 0xFFFF) as usize;
        Self { servers: servers.collect(), next: AtomicUsize::new(first) }
    }

    /// All of them, in the order to ask: from the next in turn on, then those that rest.
    pub(super) fn order(&self) -> Vec<&Server> {
        let now = Instant::now();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..self.servers.len()).map(|step| &self.servers[(first + step) % self.servers.len()]);
        let (awake, resting): (Vec<_>, Vec<_>) = in_turn.partition(|server| !server.rests_at(now));
        [awake, resting].concat()
    }
}

impl Server {
    /// It answered.
    pub(super) fn answered(&self) {
        let mut rest = self.rest();
        rest.until = None;
        rest.backoff.reset();
    }

    /// It did not.
    pub(super) fn failed(&self) {
        let mut rest = self.rest();
        rest.until = Some(Instant::now() + rest.backoff.pause());
    }

    fn rests_at(&self, now: Instant) -> bool {
        self.rest().until.is_some_and(|until| now < until)
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(rest: Duration) -> Turns {
        Turns::new(["https://a", "https://b", "https://c"].map(|url| url.parse().unwrap()).into(), rest)
    }

    fn firsts(turns: &Turns, count: usize) -> Vec<&str> {
        let mut firsts: Vec<_> = (0..count).map(|_| turns.order()[0].url.host_str().unwrap()).collect();
        firsts.sort_unstable();
        firsts
    }

    #[test]
    fn every_server_is_asked_in_turn() {
        let turns = turns(Duration::from_mins(1));
        assert_eq!(firsts(&turns, 6), ["a", "a", "b", "b", "c", "c"]);
    }

    #[test]
    fn one_that_failed_is_asked_last_until_it_answers() {
        let turns = turns(Duration::from_hours(1));
        turns.servers[1].failed();
        assert_eq!(firsts(&turns, 3).iter().filter(|host| **host == "b").count(), 0);
        assert!((0..3).all(|_| turns.order()[2].url.host_str() == Some("b")));
        turns.servers[1].answered();
        assert_eq!(firsts(&turns, 3), ["a", "b", "c"]);
    }

    #[test]
    fn one_that_failed_is_asked_again_after_its_rest() {
        let turns = turns(Duration::ZERO);
        turns.servers[1].failed();
        assert_eq!(firsts(&turns, 3), ["a", "b", "c"]);
    }
}
