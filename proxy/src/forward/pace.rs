//! When the next batch leaves: at once while nobody is on the way, else when it is worth the way.
//!
//! A batch costs its way, a statement and a commit, whatever is in it. Many small ones side by side cost everybody time
//! that one large one would not. So beside others a batch leaves when it is as large as they usually are; at the latest
//! when one of them is back, or is so late that something else than work holds it up. Where nobody is on the way a
//! message never waits, and little load makes small usual batches, which leave side by side. It is Nagle's rule (RFC 896) for several segments
//! on the way.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than a commit takes on any healthy disk: a batch that is away for so long is no company to wait for.
pub(super) const LATE: Duration = Duration::from_millis(25);

/// See above.
#[derive(Debug)]
pub(super) struct Pace {
    /// Batches on the way, at most.
    most: usize,
    /// So many of them need no company: one for each main server.
    alone: usize,
    in_flight: usize,
    left_at: Instant,
    /// Messages of the largest batch of late; forgotten by a quarter with each batch.
    usual: usize,
}

impl Pace {
    pub(super) fn new(most: usize, alone: usize) -> Self {
        Self { most, alone, in_flight: 0, left_at: Instant::now(), usual: 1 }
    }

    /// How many messages must wait for the next batch to leave; `None` while too many are on the way.
    pub(super) fn enough(&self, now: Instant) -> Option<usize> {
        if self.in_flight >= self.most {
            return None;
        }
        let needs_company =
            self.in_flight >= self.alone && now.saturating_duration_since(self.left_at) < LATE;
        Some(if needs_company { self.usual } else { 1 })
    }

    /// A batch of so many messages left.
    pub(super) fn left(&mut self, messages: usize, now: Instant) {
        self.in_flight += 1;
        self.left_at = now;
        self.usual = messages.max(self.usual - self.usual.div_ceil(4)).max(1);
    }

    /// A batch is answered, or given up.
    pub(super) const fn back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Steps: so many milliseconds later, so many batches come back and so many messages wait.
        #[test]
        fn whatever_happens_a_batch_leaves_soon_and_no_more_are_on_the_way_than_may_be(
            most in 1..8_usize, alone in 1..4_usize, steps in vec((0..40_u64, 0..3, 1..500_usize), 1..100),
        ) {
            let mut pace = Pace::new(most, alone);
            let (mut now, mut largest) = (Instant::now(), 1);
            for (millis, back, waiting) in steps {
                now += Duration::from_millis(millis);
                (0..back).for_each(|_| pace.back());
                if pace.in_flight == 0 {
                    prop_assert_eq!(pace.enough(now), Some(1), "nobody is on the way");
                }
                if pace.in_flight < most {
                    prop_assert_eq!(pace.enough(now + LATE), Some(1), "what is on the way is late");
                }
                match pace.enough(now) {
                    None => prop_assert_eq!(pace.in_flight, most),
                    Some(enough) => {
                        prop_assert!((1..=largest).contains(&enough), "{} wait for a batch of {}", largest, enough);
                        if waiting >= enough {
                            pace.left(waiting, now);
                            largest = largest.max(waiting);
                        }
                    }
                }
                prop_assert!(pace.in_flight <= most);
            }
        }
    }

    #[test]
    fn a_lone_message_leaves_at_once() {
        let (mut pace, now) = (Pace::new(4, 1), Instant::now());
        assert_eq!(pace.enough(now), Some(1));
        pace.left(1, now);
        assert_eq!(pace.enough(now), Some(1), "beside another lone one, too");
        pace.left(60, now);
        pace.back();
        pace.back();
        assert_eq!(pace.enough(now), Some(1), "whatever was usual, nobody is on the way");
    }

    #[test]
    fn beside_large_batches_only_large_ones_leave_unless_those_are_late() {
        let (mut pace, now) = (Pace::new(4, 1), Instant::now());
        pace.left(60, now);
        assert_eq!(pace.enough(now), Some(60));
        pace.left(80, now);
        assert_eq!(pace.enough(now + LATE / 2), Some(80));
        assert_eq!(pace.enough(now + LATE), Some(1));
    }

    #[test]
    fn what_was_usual_is_forgotten() {
        let (mut pace, now) = (Pace::new(5, 1), Instant::now());
        for (messages, enough) in [(100, 100), (1, 75), (1, 56), (1, 42)] {
            pace.left(messages, now);
            assert_eq!(pace.enough(now), Some(enough));
        }
        for _ in 0..20 {
            pace.back();
            pace.left(1, now);
        }
        assert_eq!(pace.usual, 1, "a lone message leaves beside lone ones again");
    }

    #[test]
    fn no_more_than_the_most_are_on_the_way_and_each_main_server_has_one_without_company() {
        let (mut pace, now) = (Pace::new(3, 2), Instant::now());
        pace.left(50, now);
        assert_eq!(pace.enough(now), Some(1), "the second main server is idle");
        pace.left(50, now);
        pace.left(50, now);
        assert_eq!(pace.enough(now + LATE), None);
        pace.back();
        assert_eq!(pace.enough(now), Some(50));
    }
}
