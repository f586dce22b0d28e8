//! How long a peer may make us wait for bytes: for a while, which bytes that do move give back at the least rate
//! that we put up with, and never more than that while. So a pause is forgiven, and a trickle is not.

use std::time::{Duration, Instant};

/// What is left of the patience with one peer, in one direction.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    most: Duration,
    per_byte: Duration,
    left: Duration,
    waiting_since: Option<Instant>,
}

impl Patience {
    pub(super) fn new(most: Duration, least_rate: usize) -> Self {
        let per_byte = Duration::from_secs(1) / u32::try_from(least_rate.max(1)).unwrap_or(u32::MAX);
        Self { most, per_byte, left: most, waiting_since: None }
    }

    /// Nothing moves: answers until when that is put up with.
    pub(super) fn waits(&mut self, now: Instant) -> Instant {
        *self.waiting_since.get_or_insert(now) + self.left
    }

    /// When it ends, if it is being used up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting_since.map(|since| since + self.left)
    }

    /// So many bytes moved.
    pub(super) fn moved(&mut self, now: Instant, bytes: usize) {
        let Some(since) = self.waiting_since.take() else { return };
        let earned = self.per_byte.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.left = self.left.saturating_sub(now - since).saturating_add(earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For how many seconds a peer is put up with that moves so many bytes once a second, up to 1000.
    fn lasts(bytes: usize) -> u64 {
        let begun = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(5), 500);
        for second in 1..=1000 {
            let (before, now) =
                (begun + Duration::from_secs(second - 1), begun + Duration::from_secs(second));
            if patience.waits(before) < now {
                return second;
            }
            patience.moved(now, bytes);
        }
        1000
    }

    #[test]
    fn a_trickle_ends_and_a_stream_does_not() {
        assert_eq!(lasts(0), 6);
        assert_eq!(lasts(1), 6);
        assert_eq!(lasts(400), 22);
        assert_eq!(lasts(500), 1000);
    }

    #[test]
    fn a_burst_pays_for_one_pause_and_not_for_all() {
        let begun = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(5), 500);
        patience.waits(begun);
        patience.moved(begun + Duration::from_secs(4), 1 << 20);
        let now = begun + Duration::from_secs(10);
        assert_eq!(patience.waits(now), now + Duration::from_secs(5));
    }
}
