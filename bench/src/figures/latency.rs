//! How long an answer takes at half of what we take at most, counted from when its request was due.

use anyhow::Context as _;

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Ask, Load, Pace, Requests},
    ours::rate,
    scene::Scene,
};

#[derive(Debug)]
pub(super) struct Latency {
    row: Row,
    /// As [`Sample::also`] calls it.
    quantile: &'static str,
}

pub(super) const P50: Latency = Latency {
    row: Row {
        name: "latency_p50_ms",
        what: "a durable POST of one message, at half of our own maximum",
        unit: "ms",
        compare: Compare::Ours,
        goal: Goal::AtMost(3.0),
        peer: None,
        slow: false,
    },
    quantile: "p50_ms",
};

pub(super) const P99: Latency =
    Latency { row: Row { name: "latency_p99_ms", goal: Goal::AtMost(15.0), ..P50.row }, quantile: "p99_ms" };

impl Figure for Latency {
    fn row(&self) -> Row {
        self.row
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let pace = Pace::Open(scene.maximum()? / 2.0);
        let window = scene.window();
        let ours = scene.ours()?;
        ours.reset()?;
        let load = Requests { pace, ..ours.requests(Ask::Message, window)? };
        let sample = rate(&Load::Requests(load), ours.watched())?;
        let value = sample.also.get(self.quantile).copied().context("no answer was timed")?;
        let per_second = sample.value;
        Ok(Sample { value, ..sample }.with("messages_per_second", per_second))
    }
}
