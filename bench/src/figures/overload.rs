//! What is admitted stays quick when three times as much is offered.

use anyhow::{Context as _, ensure};

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Ask, Load, Pace, Requests},
    ours::{Ours, rate},
    scene::Scene,
};

/// At most so many messages are admitted per second, a tenth of them at once.
const ADMISSION: &str = "[admission]\nmessages_per_second = 5000\nburst = 500";
const ADMITTED: f64 = 5000.0;
const OFFERED: f64 = 15_000.0;
/// What the base must get in, at least: else it is no quiet day to compare with.
const QUIET: f64 = 0.95;

#[derive(Debug, Default)]
pub(super) struct Overload {
    capped: Option<Ours>,
}

impl Figure for Overload {
    fn row(&self) -> Row {
        Row {
            name: "overload",
            what: "p99 of admitted messages with 15,000/s offered ÷ with 5,000/s, admission capped at 5,000/s",
            unit: "ms",
            compare: Compare::OursToPeer,
            goal: Goal::AtMost(3.0),
            peer: Some("ours, with 5,000/s offered"),
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        self.p99(scene, OFFERED)
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let sample = self.p99(scene, ADMITTED)?;
        let also = |name| sample.also.get(name).copied().unwrap_or_default();
        let (admitted, refused) = (also("admitted_per_second"), also("refused_per_second"));
        ensure!(
            admitted >= QUIET * ADMITTED,
            "with {ADMITTED}/s offered and admissible, {refused:.0}/s were refused and {admitted:.0}/s admitted"
        );
        Ok(Some(sample))
    }
}

impl Overload {
    fn p99(&mut self, scene: &mut Scene, offered: f64) -> anyhow::Result<Sample> {
        if self.capped.is_none() {
            self.capped = Some(Ours::start(ADMISSION)?);
        }
        let ours = self.capped.as_ref().context("started above")?;
        ours.reset()?;
        let usual = ours.requests(Ask::Message, scene.window())?;
        let load = Requests { pace: Pace::Open(offered), refusal: Some(503), connections: 256, ..usual };
        let sample = rate(&Load::Requests(load), ours.watched())?;
        let value = sample.also.get("p99_ms").copied().context("no answer was timed")?;
        let admitted = sample.value;
        Ok(Sample { value, ..sample }.with("admitted_per_second", admitted))
    }
}
