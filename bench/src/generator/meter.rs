//! Counts what happens between `begin` and `end`, and says both to whoever measures.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::say;
use crate::load::{Event, Latency, Outcome, Window};

/// The way to say that the window begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signals;

impl Signals {
    /// The warm-up is over.
    #[expect(clippy::unused_self, reason = "whoever holds it may speak")]
    pub(super) fn begin(self) -> anyhow::Result<()> {
        say(&Event::Begin)
    }
}

/// Counts into one window; clones count into the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    began: Option<Instant>,
    count: u64,
    answers: u64,
    failures: u64,
    first_failure: Option<String>,
    refused: u64,
    micros: Option<Histogram<u64>>,
}

impl Meter {
    /// `count` things were done by an answer that took so long.
    pub(super) fn done(&self, count: u64, elapsed: Duration) {
        let mut counts = self.counts();
        if counts.began.is_none() {
            return;
        }
        counts.count += count;
        counts.answers += 1;
        if let Some(histogram) = &mut counts.micros {
            histogram.saturating_record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// The server said "not now".
    pub(super) fn refused(&self) {
        let mut counts = self.counts();
        counts.refused += u64::from(counts.began.is_some());
    }

    /// Something went wrong; in the warm-up too, since that is no better.
    pub(super) fn failed(&self, what: impl FnOnce() -> String) {
        let mut counts = self.counts();
        counts.failures += 1;
        if counts.first_failure.is_none() {
            counts.first_failure = Some(what());
        }
    }

    /// Waits for the warm-up to pass, says so, and waits for the window to pass.
    pub(super) async fn measure(&self, window: Window, signals: Signals) -> anyhow::Result<Outcome> {
        tokio::time::sleep(Duration::from_millis(window.warm_up_ms)).await;
        self.begin(signals)?;
        tokio::time::sleep(Duration::from_millis(window.window_ms)).await;
        Ok(self.end())
    }

    /// From here on it counts.
    pub(super) fn begin(&self, signals: Signals) -> anyhow::Result<()> {
        signals.begin()?;
        let mut counts = self.counts();
        // to a minute, three digits
        counts.micros = Some(Histogram::new_with_bounds(1, 60_000_000, 3)?);
        counts.began = Some(Instant::now());
        Ok(())
    }

    /// What was counted so far.
    pub(super) fn counted(&self) -> u64 {
        self.counts().count
    }

    /// To here.
    pub(super) fn end(&self) -> Outcome {
        let mut counts = self.counts();
        let seconds = counts.began.take().map_or(0.0, |began| began.elapsed().as_secs_f64());
        let latency = counts.micros.take().filter(|micros| !micros.is_empty()).map(|micros| Latency {
            p50: millis(micros.value_at_quantile(0.5)),
            p99: millis(micros.value_at_quantile(0.99)),
            max: millis(micros.max()),
        });
        Outcome {
            count: counts.count,
            seconds,
            answers: counts.answers,
            failures: counts.failures,
            first_failure: counts.first_failure.take(),
            refused: counts.refused,
            latency,
            times_ms: Vec::new(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a minute")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counts_outside_the_window_but_failures_always_do() {
        let meter = Meter::default();
        meter.done(1, Duration::ZERO);
        meter.failed(|| "first".to_owned());
        meter.failed(|| "second".to_owned());
        let outcome = meter.end();
        assert_eq!((outcome.count, outcome.failures), (0, 2));
        assert_eq!(outcome.first_failure.as_deref(), Some("first"));
    }
}
