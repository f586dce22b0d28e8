//! How far a request came, and how long each stage took: for the line that is written when it is answered.
//!
//! In: from the body, what came and when it was complete; from the handler, how long it waited for others. Out: the
//! figures so far. They lie beside what the request holds in memory anyway, so that noting them costs no allocation.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// One request's. A stage that it did not come to has no time.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    bytes: AtomicU64,
    received: AtomicU64,
    waited: AtomicU64,
    stored: AtomicU64,
}

/// How long each stage took, and how much came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stages {
    /// Bytes of the body, so far as they were read.
    pub bytes: u64,
    /// From the head to the end of the body.
    pub receive: Option<Duration>,
    /// For its turn.
    pub wait: Option<Duration>,
    /// To be stored, from its turn on.
    pub store: Option<Duration>,
}

/// Of a stage that was not reached.
const NEVER: u64 = u64::MAX;

impl Progress {
    /// Its head is there.
    pub(super) fn new() -> Self {
        let never = || AtomicU64::new(NEVER);
        Self { began: Instant::now(), bytes: 0.into(), received: never(), waited: never(), stored: never() }
    }

    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// So many bytes of its body came.
    pub(super) fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Its body is complete.
    pub(super) fn complete(&self) {
        self.received.store(nanos(self.began.elapsed()), Relaxed);
    }

    /// It was stored: after so long, and in so long. Of several messages in one request the longest counts.
    pub(super) fn stored(&self, waited: Duration, took: Duration) {
        for (stage, time) in [(&self.waited, waited), (&self.stored, took)] {
            let before = stage.load(Relaxed);
            stage.store(if before == NEVER { nanos(time) } else { before.max(nanos(time)) }, Relaxed);
        }
    }

    pub(super) fn stages(&self) -> Stages {
        let time = |stage: &AtomicU64| {
            let nanos = stage.load(Relaxed);
            (nanos != NEVER).then(|| Duration::from_nanos(nanos))
        };
        let (receive, wait, store) = (time(&self.received), time(&self.waited), time(&self.stored));
        Stages { bytes: self.bytes.load(Relaxed), receive, wait, store }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_a_time_once_it_was_reached_and_of_several_messages_the_longest_counts() {
        let progress = Progress::new();
        assert_eq!(progress.stages(), Stages::default());
        progress.came(3);
        progress.came(4);
        progress.complete();
        let [one, two, three] = [1, 2, 3].map(Duration::from_millis);
        progress.stored(one, three);
        progress.stored(two, two);
        let stages = progress.stages();
        assert!(stages.receive.is_some());
        assert_eq!((stages.bytes, stages.wait, stages.store), (7, Some(two), Some(three)));
    }
}
