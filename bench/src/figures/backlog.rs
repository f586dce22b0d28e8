//! Whether leasing and completing gets slower with what waits behind.

use anyhow::Context as _;

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Drain, Load, Outcome, generate},
    ours::Ours,
    scene::Scene,
    statistics::ratio,
};

const LARGE: u64 = 2_000_000;
const SMALL: u64 = 10_000;
/// How often half of the small one is drained and filled again in a run; of the large one as many jobs are done at
/// once.
const TIMES: u64 = 10;
const HALF: u64 = SMALL / 2;

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
        let ours = self.large.as_ref().context("started above")?;
        let outcome = drain(ours, TIMES * HALF)?;
        // keeps it as large as it was
        ours.fill(outcome.count)?;
        Ok(Sample::of(outcome.rate()))
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let ours = scene.ours()?;
        ours.reset()?;
        ours.fill(HALF)?;
        let (mut jobs, mut seconds) = (0.0, 0.0);
        for _ in 0..TIMES {
            ours.fill(HALF)?;
            let outcome = drain(ours, HALF)?;
            jobs += outcome.counted();
            seconds += outcome.seconds;
        }
        Ok(Some(Sample::of(ratio(jobs, seconds))))
    }
}

fn drain(ours: &Ours, jobs: u64) -> anyhow::Result<Outcome> {
    let load = Drain { target: ours.worker_door()?, connections: 4, batch: 500, jobs };
    Ok(generate(&Load::Drain(load), Vec::new())?.0)
}
