//! Whether leasing and completing gets slower with what waits behind.

use anyhow::Context as _;

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Drain, Load, generate},
    ours::Ours,
    processor::{Spent, per_thousand},
    scene::Scene,
    statistics::ratio,
};

const LARGE: u64 = 2_000_000;
const SMALL: u64 = 10_000;
/// How often in a run.
const TIMES: u32 = 10;

/// `backlog_growth`; the stack with the large backlog is its own.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    large: Option<Ours>,
}

impl Figure for Backlog {
    fn row(&self) -> Row {
        Row {
            name: "backlog_growth",
            what: "lease and complete with 2,000,000 waiting ÷ with 10,000; 4 loops, 500 jobs each time",
            unit: "jobs/s",
            compare: Compare::OursToPeer,
            goal: Goal::AtLeast(0.9),
            peer: Some("ours, with 10,000 waiting"),
            slow: true,
        }
    }

    fn ours(&mut self, _: &mut Scene) -> anyhow::Result<Sample> {
        if self.large.is_none() {
            let ours = Ours::start("")?;
            ours.fill(LARGE)?;
            self.large = Some(ours);
        }
        drained(self.large.as_ref().context("started above")?)
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let ours = scene.ours()?;
        ours.reset()?;
        ours.fill(SMALL)?;
        drained(ours).map(Some)
    }
}

/// Drains half of what is the small backlog again and again, and fills up what was drained each time.
fn drained(ours: &Ours) -> anyhow::Result<Sample> {
    let (mut jobs, mut seconds, mut all) = (0.0, 0.0, Spent::new());
    for _ in 0..TIMES {
        let load = Drain { target: ours.worker_door()?, connections: 4, batch: 500, jobs: SMALL / 2 };
        let (outcome, spent) = generate(&Load::Drain(load), ours.watched())?;
        jobs += outcome.counted();
        seconds += outcome.seconds;
        for (label, seconds) in spent {
            *all.entry(label).or_default() += seconds;
        }
        ours.fill(outcome.count)?;
    }
    let cpu_seconds_per_1000 = per_thousand(all, jobs);
    Ok(Sample { value: ratio(jobs, seconds), cpu_seconds_per_1000, ..Sample::default() })
}
