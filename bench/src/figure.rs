//! What a figure is: a name, a unit, a goal, and how one run of ours and one of the peer are taken.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{processor::Spent, scene::Scene};

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// As in the table of goals.
    pub(crate) name: &'static str,
    /// In a few words.
    pub(crate) what: &'static str,
    /// Of ours and of the peer.
    pub(crate) unit: &'static str,
    /// What is compared with the goal.
    pub(crate) compare: Compare,
    /// When it is met.
    pub(crate) goal: Goal,
    /// With what ours is compared, if with anything.
    pub(crate) peer: Option<&'static str>,
    /// It takes minutes: three runs are enough, and `--quick` leaves it out.
    pub(crate) slow: bool,
}

/// What is compared with the goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    /// Ours ÷ peer: of rates, where more is better, and of times against a base without the burden.
    OursToPeer,
    /// Peer ÷ ours: of costs, where less is better.
    PeerToOurs,
    /// Ours itself.
    Ours,
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

impl Goal {
    /// Whether a value is within the bound.
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    /// The bound itself.
    pub(crate) const fn bound(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }

    /// `≥` or `≤`.
    pub(crate) const fn sign(self) -> char {
        match self {
            Self::AtLeast(_) => '≥',
            Self::AtMost(_) => '≤',
        }
    }
}

/// What one run gave.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    /// In the figure's unit.
    pub(crate) value: f64,
    /// Processor seconds per thousand of what was counted, by process.
    #[serde(skip_serializing_if = "Spent::is_empty")]
    pub(crate) cpu_seconds_per_1000: Spent,
    /// What else was seen, such as quantiles of the time an answer took.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) also: BTreeMap<&'static str, f64>,
}

impl Sample {
    /// A value alone.
    pub(crate) fn of(value: f64) -> Self {
        Self { value, ..Self::default() }
    }

    /// Notes something beside it.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.also.insert(name, value);
        self
    }
}

/// A further bound on something that [`Sample::also`] holds; the figure is met only with all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Also {
    /// Its name in [`Sample::also`] of ours.
    pub(crate) name: &'static str,
    /// When it is met.
    pub(crate) goal: Goal,
}

/// A figure.
pub(crate) trait Figure {
    /// What it says about itself.
    fn row(&self) -> Row;

    /// Bounds beside the main one.
    fn also(&self) -> &'static [Also] {
        &[]
    }

    /// One run of ours.
    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample>;

    /// One run of the peer, where there is one.
    fn peer(&mut self, _scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        Ok(None)
    }
}

/// A figure that cannot be taken yet, which is a goal that is missed and no failure to measure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotYet(pub(crate) String);
