//! Pauses between tries: doubling up to a limit, half of each random, so that workers that failed together
//! do not come back together.

use std::time::Duration;

use uuid::Uuid;

/// The pauses of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins at `min`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The pause after one more failure.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        // The random bits of a version 4 UUID are randomness enough, without another dependency.
        let random = (Uuid::new_v4().as_u128() & 0xFFFF) as u32;
        whole / 2 + whole / 2 * random / 0xFFFF
    }

    /// It worked: the next failure begins anew.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_pause_lies_between_half_the_least_and_the_most(
            min in 1..60_000_u64, more in 0..3_600_000_u64, tries in 1..40,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let (mut backoff, mut whole) = (Backoff::new(min, max), min);
            for _ in 0..tries {
                let pause = backoff.pause();
                prop_assert!((whole / 2..=whole).contains(&pause), "{:?} of {:?}", pause, whole);
                whole = (whole * 2).min(max);
            }
        }
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        for whole in [100, 200, 400, 500, 500] {
            let pause = backoff.pause();
            assert!(pause >= Duration::from_millis(whole / 2), "{pause:?} of {whole} ms");
            assert!(pause <= Duration::from_millis(whole), "{pause:?} of {whole} ms");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
