//! A token bucket: filled at a rate up to its brim, emptied by what is asked.
//!
//! In: the time, a limit, what is asked. Out: taken, or how long until it could be. It may owe: what is larger
//! than the bucket is taken when the bucket is full, and nothing else until that is paid. The limit may be another
//! one each time, so that a change of it counts at once.

use std::time::{Duration, Instant};

/// Longer than any wait that is told or waited for.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// How fast a bucket fills, and how much it holds. Both are above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

impl Limit {
    /// No limit at a rate of 0; a burst of 0 is what `seconds` bring, 1 at least.
    pub(crate) fn new(per_second: f64, burst: f64, seconds: f64) -> Option<Self> {
        let burst = if burst > 0.0 { burst } else { per_second * seconds };
        (per_second > 0.0).then_some(Self { per_second, burst: burst.ceil().max(1.0) })
    }

    /// How long so much takes.
    pub(super) fn time_for(self, much: f64) -> Duration {
        Duration::try_from_secs_f64(much.max(0.0) / self.per_second).unwrap_or(FOREVER).min(FOREVER)
    }
}

/// One bucket. A new one is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(limit: Option<Limit>, now: Instant) -> Self {
        Self { level: limit.map_or(0.0, |limit| limit.burst), at: now }
    }

    /// What is in it now; less than 0 is owed.
    pub(super) fn level(&mut self, limit: Limit, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * limit.per_second).min(limit.burst);
        self.at = self.at.max(now);
        self.level
    }

    /// Whether `needed` is there, or as much as the bucket holds; else how long until then.
    pub(super) fn has(&mut self, limit: Limit, needed: f64, now: Instant) -> Result<(), Duration> {
        let missing = needed.min(limit.burst) - self.level(limit, now);
        // a token that took its time may lack a billionth: rounding is nobody's fault
        if missing > 1e-6 { Err(limit.time_for(missing)) } else { Ok(()) }
    }

    /// Takes so much, whatever is there.
    pub(super) fn take(&mut self, limit: Limit, much: f64, now: Instant) {
        self.level = self.level(limit, now) - much;
    }

    /// Takes so much, and owes no more than `most` afterwards.
    pub(super) fn take_owing(&mut self, limit: Limit, much: f64, most: f64, now: Instant) {
        self.level = (self.level(limit, now) - much).max(-most);
    }

    /// Whether it says no more than a new one would.
    pub(super) fn is_full(&mut self, limit: Option<Limit>, now: Instant) -> bool {
        limit.is_none_or(|limit| self.level(limit, now) >= limit.burst)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Steps: so many milliseconds later, or before, for threads do not agree on the time; as much is asked, in
        /// parts of the burst.
        #[test]
        fn never_more_is_given_than_the_burst_and_what_the_rate_brought(
            per_second in 0.01..10_000.0, burst in 1.0..1000.0,
            steps in vec((-50..1000_i64, 0.0..1.0), 1..60),
        ) {
            let limit = Limit::new(per_second, burst, 1.0).unwrap();
            let begin = Instant::now() + Duration::from_hours(1);
            let mut bucket = Bucket::full(Some(limit), begin);
            // after so many milliseconds, as much was taken
            let (mut millis, mut taken) = (0_i64, vec![(0, 0.0)]);
            for (step, part) in steps {
                millis = (millis + step).max(0);
                let (now, much) = (begin + Duration::from_millis(millis.unsigned_abs()), part * limit.burst);
                if let Err(wait) = bucket.has(limit, much, now) {
                    prop_assert!(wait <= limit.time_for(limit.burst), "{:?}", wait);
                    continue;
                }
                bucket.take(limit, much, now);
                let (latest, sum) = taken.last().copied().unwrap();
                taken.push((latest.max(millis), sum + much));
            }
            for (number, (end, sum)) in taken.iter().enumerate() {
                for (begin, before) in &taken[..number] {
                    let brought = Duration::from_millis((end - begin).unsigned_abs()).as_secs_f64() * per_second;
                    let given = sum - before;
                    prop_assert!(given <= limit.burst + brought + 1e-3, "{} given, {} brought", given, brought);
                }
            }
        }
    }

    /// 10 a second, 20 at once.
    const LIMIT: Limit = Limit { per_second: 10.0, burst: 20.0 };

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let begin = Instant::now();
        let mut bucket = Bucket::full(Some(LIMIT), begin);
        // after so many milliseconds, so many are asked for, of which so many are given
        for (millis, asked, given) in
            [(0, 25, 20), (50, 1, 0), (100, 2, 1), (1100, 15, 10), (1150, 1, 0), (60_000, 100, 20)]
        {
            let now = begin + Duration::from_millis(millis);
            let mut taken = 0;
            for _ in 0..asked {
                if bucket.has(LIMIT, 1.0, now).is_ok() {
                    bucket.take(LIMIT, 1.0, now);
                    taken += 1;
                }
            }
            assert_eq!(taken, given, "at {millis} ms");
        }
    }

    #[test]
    fn whoever_waits_as_long_as_told_is_served() {
        for limit in [LIMIT, Limit { per_second: 0.3, burst: 1.0 }, Limit { per_second: 7.0, burst: 3.0 }] {
            let mut now = Instant::now();
            let mut bucket = Bucket::full(Some(limit), now);
            for _ in 0..100 {
                if let Err(wait) = bucket.has(limit, 1.0, now) {
                    now += wait;
                }
                assert_eq!(bucket.has(limit, 1.0, now), Ok(()));
                bucket.take(limit, 1.0, now);
            }
        }
    }

    #[test]
    fn what_is_larger_than_the_bucket_is_taken_from_a_full_one_and_owed() {
        let now = Instant::now();
        let mut bucket = Bucket::full(Some(LIMIT), now);
        assert_eq!(bucket.has(LIMIT, 1000.0, now), Ok(()));
        bucket.take(LIMIT, 1000.0, now);
        assert_eq!(bucket.has(LIMIT, 1.0, now), Err(Duration::from_millis(98_100)));
        assert_eq!(bucket.has(LIMIT, 1000.0, now), Err(Duration::from_secs(100)));
        assert_eq!(bucket.has(LIMIT, 1.0, now + Duration::from_millis(98_100)), Ok(()));
    }

    #[test]
    fn a_limit_that_changes_counts_at_once() {
        let now = Instant::now();
        let mut bucket = Bucket::full(Some(LIMIT), now);
        let tighter = Limit { per_second: 1.0, burst: 2.0 };
        assert!((bucket.level(tighter, now) - 2.0).abs() < 1e-9);
        bucket.take(tighter, 1000.0, now);
        // what is owed is paid at the new rate
        let looser = Limit { per_second: 1000.0, burst: 2.0 };
        assert_eq!(bucket.has(looser, 1.0, now), Err(Duration::from_millis(999)));
    }

    #[test]
    fn an_absurd_wait_is_a_long_one_and_no_panic() {
        let (now, slow) = (Instant::now(), Limit { per_second: 1e-300, burst: 1.0 });
        let mut bucket = Bucket::full(Some(slow), now);
        bucket.take(slow, 1e300, now);
        assert_eq!(bucket.has(slow, 1.0, now), Err(FOREVER));
    }

    #[test]
    fn a_rate_of_0_is_no_limit_and_a_burst_of_0_is_what_the_time_brings() {
        assert_eq!(Limit::new(0.0, 5.0, 1.0), None);
        assert_eq!(Limit::new(0.5, 0.0, 1.0), Some(Limit { per_second: 0.5, burst: 1.0 }));
        assert_eq!(Limit::new(5000.0, 0.0, 0.1), Some(Limit { per_second: 5000.0, burst: 500.0 }));
        assert_eq!(Limit::new(10.0, 7.0, 1.0), Some(Limit { per_second: 10.0, burst: 7.0 }));
    }
}
