//! Addresses from which handshakes fail again and again: their next ones wait.
//!
//! In: an address, before its handshake and after one that failed. Out: how long to wait first. Nobody is refused, since
//! behind one address there may be many, of whom one has a bad certificate; for the same reason it is off unless
//! the operator sets a rate. Forgotten: addresses from which nothing failed for a while.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::arrivals::network;

/// So many seconds' failures may come at once.
const BURST: u32 = 10;
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// Addresses that are remembered; the failures of others are not slowed.
const REMEMBERED: usize = 65_536;
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Failures {
    /// So many a second may fail from one address; 0: any number.
    per_second: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When all that failed would have, at that pace.
    failed_by: HashMap<IpAddr, Instant>,
    /// Those that had nothing ahead were forgotten then; looking at all is not for each failure.
    looked_through: Option<Instant>,
}

impl Failures {
    /// So many a second may fail from one address; 0: any number.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), state: Mutex::default() }
    }

    /// Another rate, for what fails from now on.
    pub(super) fn allow(&self, per_second: u32) {
        self.per_second.store(per_second, Relaxed);
    }

    /// From one failure to the next, at the allowed rate; none if any number may fail.
    fn pace(&self) -> Option<Duration> {
        Duration::from_secs(1).checked_div(self.per_second.load(Relaxed))
    }

    /// How long a handshake from there has to wait.
    pub(super) fn wait(&self, remote: IpAddr, now: Instant) -> Option<Duration> {
        self.pace()?;
        let failed_by = self.lock().failed_by.get(&network(remote)).copied()?;
        let ahead = failed_by.saturating_duration_since(now);
        ahead.checked_sub(Duration::from_secs(BURST.into())).filter(|wait| !wait.is_zero())
    }

    /// A handshake from there failed.
    pub(super) fn note(&self, remote: IpAddr, now: Instant) {
        let Some(pace) = self.pace() else { return };
        let address = network(remote);
        let mut state = self.lock();
        let lately = state.looked_through.is_some_and(|then| now < then + LOOK_EVERY);
        if state.failed_by.len() >= REMEMBERED && !lately {
            state.failed_by.retain(|_, by| *by > now);
            state.looked_through = Some(now);
        }
        let failed_by = &mut state.failed_by;
        if failed_by.len() < REMEMBERED || failed_by.contains_key(&address) {
            let by = failed_by.entry(address).or_insert(now);
            // nobody waits longer than the longest wait, so nobody gets further ahead
            let furthest = now + LONGEST + Duration::from_secs(BURST.into());
            *by = ((*by).max(now) + pace).min(furthest);
        }
    }

    /// No code that holds it panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0xC000_0200 + last))
    }

    #[test]
    fn what_fails_too_often_from_one_address_makes_its_next_handshakes_wait_and_no_others() {
        let (failures, now) = (Failures::new(2), Instant::now());
        // 10 s of 2 a second may fail at once; each further one costs half a second, up to five
        for (failed, wait) in [(20, 0), (1, 500), (3, 2000), (100, 5000)] {
            (0..failed).for_each(|_| failures.note(ip(1), now));
            let expected = (wait > 0).then(|| Duration::from_millis(wait));
            assert_eq!(failures.wait(ip(1), now), expected);
            assert_eq!(failures.wait(ip(2), now), None);
        }
        assert_eq!(failures.wait(ip(1), now + Duration::from_secs(4)), Some(Duration::from_secs(1)));
        assert_eq!(failures.wait(ip(1), now + LONGEST), None);
    }

    #[test]
    fn without_a_rate_nobody_waits_and_nothing_is_remembered() {
        let (failures, now) = (Failures::new(0), Instant::now());
        (0..1000).for_each(|_| failures.note(ip(1), now));
        assert_eq!((failures.wait(ip(1), now), failures.lock().failed_by.len()), (None, 0));
    }

    #[test]
    fn only_so_many_addresses_are_remembered_and_only_while_they_fail() {
        let (failures, now) = (Failures::new(1), Instant::now());
        (0..70_000).for_each(|last| failures.note(ip(last), now));
        assert_eq!(failures.lock().failed_by.len(), REMEMBERED);
        failures.note(ip(70_001), now + Duration::from_secs(2));
        assert_eq!(failures.lock().failed_by.len(), 1);
    }
}
