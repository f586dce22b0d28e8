//! What all clients together may send: `[admission]`, decided when a request's head is in.
//!
//! In: a message, or a batch. Out: it may go on. Refused: what is beyond the cap, 503 with when to come back, before
//! the body is looked at; a small one is thrown away, so that the connection stays. One atomic number, no lock: the
//! moment at which all that was admitted would have been sent, had it come evenly (GCRA, ITU-T I.371).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use axum::{extract::Request, response::Response};
use shared::wire::{Code, Problem};

use super::{bucket::Limit, drain::drain};
use crate::{
    api::{refuse, refuse_early},
    config,
    edge::Arrival,
    metrics::Shed,
    routes::Edge,
};

/// The cap of a proxy.
#[derive(Debug)]
pub(crate) struct Admission {
    pace: ArcSwapOption<Pace>,
    started: Instant,
    /// Nanoseconds after `started`.
    sent_by: AtomicU64,
}

/// In nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Pace {
    per_message: u64,
    /// So far ahead may the messages be that come at once.
    burst: u64,
}

impl Admission {
    /// Nothing was sent yet.
    pub(crate) fn new(config: config::Admission, now: Instant) -> Self {
        Self { pace: pace(config).into(), started: now, sent_by: AtomicU64::new(0) }
    }

    /// Another cap, for what comes from now on; what is owed is paid at the new rate.
    pub(crate) fn replace(&self, config: config::Admission, now: Instant) {
        let (after, now) = (pace(config), nanos(now.saturating_duration_since(self.started)));
        let before = self.pace.swap(after.clone());
        let at_the_new_rate = |sent_by: u64| {
            // who owes nothing, or to a cap that is gone, begins anew
            let ahead = u128::from(sent_by.saturating_sub(now));
            let (Some(before), Some(after)) = (&before, &after) else { return now };
            let ahead = ahead * u128::from(after.per_message) / u128::from(before.per_message);
            now.saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX))
        };
        self.sent_by.update(Relaxed, Relaxed, at_the_new_rate);
    }

    /// Takes a message, or the first one of a batch; else answers when there is room for it.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        self.take_some(1, 0, now)
    }

    /// Takes the further messages of a batch that was let in, as long as no more than a burst is owed: were it held
    /// to what is left at this moment, batches would never get in beside single messages.
    pub(crate) fn take_messages(&self, further: usize, now: Instant) -> Result<(), Duration> {
        match self.pace.load().as_deref() {
            Some(pace) if further > 0 => self.take_some(further as u64, pace.burst + pace.per_message, now),
            _ => Ok(()),
        }
    }

    /// `owed`: so many nanoseconds more than the burst may be taken already.
    fn take_some(&self, messages: u64, owed: u64, now: Instant) -> Result<(), Duration> {
        let Some(Pace { per_message, burst }) = self.pace.load().as_deref().copied() else { return Ok(()) };
        let now = nanos(now.saturating_duration_since(self.started));
        let mut before = self.sent_by.load(Relaxed);
        loop {
            let begin = before.max(now);
            let ahead = (begin - now).saturating_add(per_message);
            if ahead > burst.saturating_add(owed) {
                return Err(Duration::from_nanos(ahead - burst));
            }
            let after = begin.saturating_add(per_message.saturating_mul(messages));
            match self.sent_by.compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => before = other,
            }
        }
    }
}

fn pace(config: config::Admission) -> Option<Arc<Pace>> {
    let limit = Limit::new(config.messages_per_second, f64::from(config.burst), 0.1)?;
    let per_message = nanos(limit.time_for(1.0)).max(1);
    Some(Arc::new(Pace { per_message, burst: nanos(limit.time_for(limit.burst)) }))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What the handlers that take messages begin with: the request again, or the answer if there is no room for it.
pub(crate) async fn take_up(edge: &Edge, arrival: &Arrival, request: Request) -> Result<Request, Response> {
    let Err(wait) = edge.admission.take(Instant::now()) else { return Ok(request) };
    edge.metrics.shed(Shed::Cap);
    let problem = beyond(wait);
    Err(if drain(request).await { refuse(problem, arrival) } else { refuse_early(problem, arrival) })
}

/// The answer to what is beyond the cap.
pub(super) fn beyond(wait: Duration) -> Problem {
    let text =
        "more messages are sent than this proxy takes, by all clients together; nothing of this is stored";
    Problem::new(Code::Overloaded, text).with("violated-policies", ["admission"].as_slice()).after(wait)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn never_more_is_let_in_than_the_burst_and_what_the_rate_brought(
            per_second in 0.1..10_000.0, burst in 1..100_u32, steps in vec((0..2000_u64, 0..200), 1..30),
        ) {
            let begin = Instant::now();
            let cap = cap(per_second, burst, begin);
            let (mut millis, mut taken) = (0, 0.0);
            for (step, asked) in steps {
                millis += step;
                let now = begin + Duration::from_millis(millis);
                let refused = (0..asked).find_map(|_| cap.take(now).inspect(|()| taken += 1.0).err());
                let brought = Duration::from_millis(millis).as_secs_f64() * per_second;
                prop_assert!(taken <= f64::from(burst) + brought + 0.01, "{} taken, {} brought", taken, brought);
                if let Some(wait) = refused {
                    let other = Admission { sent_by: cap.sent_by.load(Relaxed).into(), ..self::cap(per_second, burst, begin) };
                    prop_assert_eq!(other.take(now + wait), Ok(()), "whoever comes back when told gets in");
                }
            }
        }
    }

    const MILLI: Duration = Duration::from_millis(1);

    fn cap(messages_per_second: f64, burst: u32, now: Instant) -> Admission {
        Admission::new(config::Admission { messages_per_second, burst }, now)
    }

    #[test]
    fn the_cap_lets_a_burst_in_and_then_its_rate_whatever_is_offered() {
        let begin = Instant::now();
        let cap = cap(5000.0, 0, begin);
        // three times as much is offered, for two seconds
        let admitted =
            (0..30_000).filter(|number| cap.take(begin + Duration::from_nanos(66_667 * number)).is_ok());
        let admitted = admitted.count();
        assert!((10_498..=10_501).contains(&admitted), "{admitted}");
    }

    #[test]
    fn whoever_comes_back_when_told_gets_in() {
        let now = Instant::now();
        let cap = cap(10.0, 2, now);
        assert_eq!([cap.take(now), cap.take(now), cap.take(now)], [Ok(()), Ok(()), Err(MILLI * 100)]);
        assert_eq!([cap.take(now + MILLI * 100), cap.take(now + MILLI * 100)], [Ok(()), Err(MILLI * 100)]);
    }

    #[test]
    fn a_batch_that_was_let_in_is_taken_whole_and_what_it_owes_is_paid() {
        let now = Instant::now();
        let cap = cap(100.0, 10, now);
        assert_eq!(cap.take(now), Ok(()));
        assert_eq!(cap.take_messages(29, now), Ok(()));
        // 20 are owed: no other batch that was let in before, nor any message, until they are paid
        assert_eq!(cap.take_messages(1, now), Err(MILLI * 210));
        assert_eq!(cap.take(now), Err(MILLI * 210));
        assert_eq!(cap.take(now + MILLI * 210), Ok(()));
    }

    #[test]
    fn what_is_owed_is_paid_at_the_new_rate_when_the_cap_changes() {
        let now = Instant::now();
        let cap = cap(1.0, 1, now);
        let replace = |messages_per_second| {
            cap.replace(config::Admission { messages_per_second, burst: 1 }, now);
        };
        assert_eq!((cap.take(now), cap.take_messages(100, now)), (Ok(()), Ok(())));
        assert_eq!(cap.take(now), Err(Duration::from_secs(101)));
        replace(1000.0);
        assert_eq!(cap.take(now), Err(MILLI * 101));
        replace(10.0);
        assert_eq!(cap.take(now), Err(MILLI * 100 * 101));
        // nothing is owed to a cap that is gone
        replace(0.0);
        replace(10.0);
        assert_eq!(cap.take(now), Ok(()));
    }

    #[test]
    fn without_a_cap_everything_gets_in() {
        let now = Instant::now();
        let cap = cap(0.0, 10, now);
        assert!((0..1000).all(|_| cap.take(now).is_ok() && cap.take_messages(1000, now).is_ok()));
    }
}
