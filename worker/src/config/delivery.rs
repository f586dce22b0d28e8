//! `[delivery]`: from which queue, how many jobs at a time, and for how long they are held.

use std::time::Duration;

use serde::Deserialize;
use shared::{
    config::{Source, Span},
    identity::Name,
    wire::lease::MAX_WAIT_SECONDS,
};

/// The most jobs that a main server leases at once.
const MAX_BATCH: u32 = 500;

/// The table `[delivery]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// The queue to take from.
    pub queue: String,
    /// How long a job is held before the main server gives it to somebody else; renewed while the sink works.
    pub lease: Span,
    /// How long one lease request waits for a job.
    pub wait: Span,
    /// Most jobs in one lease, which the sink writes together.
    pub batch: u32,
    /// Most leases in hand at a time.
    pub batches: u32,
    /// Most jobs in hand at a time.
    pub max_jobs: u32,
    /// After a soft stop, how long to go on with what is in hand before handing it back.
    pub drain: Span,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            queue: "default".to_owned(),
            lease: Span::seconds(30),
            wait: Span::seconds(20),
            batch: 100,
            batches: 4,
            max_jobs: 500,
            drain: Span::seconds(10),
        }
    }
}

impl DeliveryConfig {
    pub(super) fn check(&self, source: &mut Source) {
        if let Err(error) = self.queue.parse::<Name>() {
            source.fault("delivery.queue", error);
        }
        // The wire counts in seconds; a fraction would be dropped without a word.
        let whole = |span: Span, least: u64, most: u64| {
            span.0.subsec_nanos() == 0 && (least..=most).contains(&span.0.as_secs())
        };
        if !whole(self.lease, 3, 12 * 3600) {
            source.fault("delivery.lease", "must be whole seconds, 3s to 12h");
        }
        if !whole(self.wait, 1, MAX_WAIT_SECONDS.into()) {
            source.fault("delivery.wait", format!("must be whole seconds, 1s to {MAX_WAIT_SECONDS}s"));
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            source.fault("delivery.batch", format!("must be 1 to {MAX_BATCH}"));
        }
        if !(1..=64).contains(&self.batches) {
            source.fault("delivery.batches", "must be 1 to 64");
        }
        if !(self.batch..=100_000).contains(&self.max_jobs) {
            source.fault("delivery.max_jobs", "must be at least delivery.batch, and at most 100000");
        }
        if self.drain.0 > Duration::from_hours(1) {
            source.fault("delivery.drain", "must be at most 1h");
        }
    }
}
