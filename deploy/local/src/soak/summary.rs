//! The verdict, for people and for exit codes.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{check::Findings, faults::Fault};

/// What was sent, what became of it, and what was done to it meanwhile.
#[derive(Debug)]
pub struct Summary {
    pub(super) seed: u64,
    pub(super) took: Duration,
    pub(super) findings: Findings,
    pub(super) faults: BTreeMap<Fault, u64>,
}

impl Summary {
    /// Nothing was lost, made up, doubled with a key, completed twice or answered unexpectedly.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.harms().iter().all(|(_, cases)| cases.is_empty())
    }

    /// How many messages were answered 202.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.findings.acknowledged
    }

    /// How many acknowledged or stored messages did not arrive.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.findings.lost.len()
    }

    /// How often each fault was done.
    #[must_use]
    pub fn faults(&self) -> &BTreeMap<Fault, u64> {
        &self.faults
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { sent, acknowledged, delivered, repeated, replayed, .. } = &self.findings;
        writeln!(f, "seed {}, {} s", self.seed, self.took.as_secs())?;
        writeln!(f, "sent {sent}, acknowledged {acknowledged} ({replayed} answers were replays)")?;
        writeln!(f, "delivered {delivered} ({repeated} lines were repeated)")?;
        for (harm, cases) in self.findings.harms() {
            writeln!(f, "{harm} {}", cases.len())?;
        }
        let faults: Vec<_> = self.faults.iter().map(|(fault, times)| format!("{fault} {times}")).collect();
        write!(f, "faults: {}", faults.join(", "))?;
        self.findings.cases().try_for_each(|case| write!(f, "\n  {case}"))
    }
}
