//! Whether any other main server may be listening: where there is none, nobody need be told, for every NOTIFY wakes all
//! who listen to anything in the database, and there may be hundreds a second.
//!
//! In: what is heard of others, each of which tries every half minute whether it hears itself ([`super::hear`]). Out: a
//! guess on the safe side. It is "yes" for as long as we do not know, since telling nobody costs the others' workers a poll.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::hear::{ARRIVES_WITHIN, TRY_EVERY};

/// Whoever listens is heard twice in this time.
const SILENCE: Duration = TRY_EVERY.saturating_mul(2).saturating_add(ARRIVES_WITHIN);

/// See above.
#[derive(Debug, Default)]
pub(super) struct Others(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Since when nothing is missed; `None` while we do not listen.
    listening_since: Option<Instant>,
    last: Option<Instant>,
}

impl Others {
    /// From now on nothing is missed.
    pub(super) fn listening(&self, now: Instant) {
        self.heard_so_far().listening_since.get_or_insert(now);
    }

    /// Something may have been missed.
    pub(super) fn deaf(&self) {
        self.heard_so_far().listening_since = None;
    }

    /// Another main server said something.
    pub(super) fn heard(&self, now: Instant) {
        self.heard_so_far().last = Some(now);
    }

    /// Whether somebody else may want to be told.
    pub(super) fn may_listen(&self, now: Instant) -> bool {
        let heard = self.heard_so_far();
        let silent_since =
            heard.listening_since.map(|since| heard.last.map_or(since, |last| last.max(since)));
        silent_since.is_none_or(|since| now.saturating_duration_since(since) < SILENCE)
    }

    fn heard_so_far(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_only_after_a_silence_in_which_nothing_could_be_missed() {
        let (others, now) = (Others::default(), Instant::now());
        assert!(others.may_listen(now + 2 * SILENCE), "we never listened");
        others.listening(now);
        others.listening(now + SILENCE / 2);
        assert!(others.may_listen(now + SILENCE / 2));
        assert!(!others.may_listen(now + SILENCE));

        others.heard(now + SILENCE);
        assert!(others.may_listen(now + SILENCE), "one that has just come is told at once");
        assert!(!others.may_listen(now + 2 * SILENCE), "it went away");

        others.deaf();
        assert!(others.may_listen(now + 9 * SILENCE));
        others.listening(now + 9 * SILENCE);
        assert!(others.may_listen(now + 9 * SILENCE), "one may have come that was not heard");
        assert!(!others.may_listen(now + 10 * SILENCE));
    }
}
