//! What is broken, and how it is mended.
//!
//! In: a stack of two of each, with a relay on each way from a proxy to a main server. Out: one thing broken, or two
//! at the same time, and whole again. Every kind has its turn before any comes again; the order is the seed's.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::Context as _;
use private_postgres::Cluster;
use rustix::process::Signal;

use super::random::Random;
use crate::{Interrupt, Process, Relay, Stack, eventually};

/// A batch is usually on its way sooner; if none is, the link is cut idle.
const MID_BATCH: Duration = Duration::from_secs(1);

/// What can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a proxy.
    ProxyKilled,
    /// kill -9 of a main server.
    MainServerKilled,
    /// kill -9 of a worker.
    WorkerKilled,
    /// A worker stopped (SIGSTOP) for longer than its leases, then continued.
    WorkerStopped,
    /// Postgres stopped as by `pg_ctl stop -m immediate`.
    PostgresStopped,
    /// kill -9 of the postmaster.
    PostmasterKilled,
    /// The link between a proxy and a main server cut while an answer is on its way.
    LinkCut,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::ProxyKilled,
        Self::MainServerKilled,
        Self::WorkerKilled,
        Self::WorkerStopped,
        Self::PostgresStopped,
        Self::PostmasterKilled,
        Self::LinkCut,
    ];

    /// Whether two of these would be one.
    fn excludes(self, other: Self) -> bool {
        let postgres = [Self::PostgresStopped, Self::PostmasterKilled];
        let worker = [Self::WorkerKilled, Self::WorkerStopped];
        self == other || [postgres, worker].iter().any(|pair| pair.contains(&self) && pair.contains(&other))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProxyKilled => "proxy killed",
            Self::MainServerKilled => "main server killed",
            Self::WorkerKilled => "worker killed",
            Self::WorkerStopped => "worker stopped past its lease",
            Self::PostgresStopped => "Postgres stopped at once",
            Self::PostmasterKilled => "postmaster killed",
            Self::LinkCut => "link cut",
        })
    }
}

/// Breaks one thing after the other.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    stack: &'a Stack,
    relays: &'a [Relay],
    /// How long a worker's leases last.
    lease: Duration,
    interrupt: Interrupt,
    random: Random,
    deck: Vec<Fault>,
    /// How often each was done.
    pub(super) done: BTreeMap<Fault, u64>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(
        stack: &'a Stack,
        relays: &'a [Relay],
        lease: Duration,
        interrupt: &Interrupt,
        random: Random,
    ) -> Self {
        let (interrupt, done) = (interrupt.clone(), Fault::ALL.map(|fault| (fault, 0)).into());
        Self { stack, relays, lease, interrupt, random, deck: Vec::new(), done }
    }

    /// Whether every kind was done so often.
    pub(super) fn each_was_done(&self, times: u64) -> bool {
        self.done.values().all(|done| *done >= times)
    }

    /// Breaks something, sometimes two things, waits a moment, and mends all of it. What was broken.
    pub(super) fn strike(&mut self) -> anyhow::Result<Vec<Fault>> {
        let mut faults = vec![self.draw()];
        if self.random.once_in(3) {
            let second = self.draw();
            if second.excludes(faults[0]) { self.deck.push(second) } else { faults.push(second) }
        }
        for fault in &faults {
            self.break_it(*fault)?;
            *self.done.entry(*fault).or_default() += 1;
        }
        let pause = self.random.millis(1000);
        let _soon_over = self.interrupt.wait(pause);
        self.mend()?;
        Ok(faults)
    }

    fn draw(&mut self) -> Fault {
        if self.deck.is_empty() {
            self.deck = Fault::ALL.into();
            self.random.shuffle(&mut self.deck);
        }
        self.deck.pop().unwrap_or(Fault::LinkCut)
    }

    fn break_it(&mut self, fault: Fault) -> anyhow::Result<()> {
        let stack = self.stack;
        match fault {
            Fault::ProxyKilled => self.one_of(&stack.proxies).process.kill(),
            Fault::MainServerKilled => self.one_of(&stack.main_servers).process.kill(),
            Fault::WorkerKilled => self.one_of(&stack.workers).process.kill(),
            Fault::WorkerStopped => {
                let worker = &self.one_of(&stack.workers).process;
                worker.signal(Signal::STOP);
                let _soon_over = self.interrupt.wait(self.lease + Duration::from_secs(2));
                worker.signal(Signal::CONT);
                Ok(())
            }
            Fault::PostgresStopped => Ok(self.cluster()?.stop_immediate()?),
            Fault::PostmasterKilled => Ok(self.cluster()?.kill_postmaster()?),
            Fault::LinkCut => {
                let relay = self.one_of(self.relays);
                relay.swallow_answers();
                let _idle = eventually(MID_BATCH, || (relay.swallowed() > 0).then_some(()));
                relay.cut();
                Ok(())
            }
        }
    }

    /// Starts whatever does not run.
    fn mend(&self) -> anyhow::Result<()> {
        self.cluster()?.restart()?;
        self.stack.processes().try_for_each(Process::spawn)?;
        self.stack.processes().try_for_each(Process::wait_until_ready)
    }

    fn one_of<T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.random.below(several.len())]
    }

    fn cluster(&self) -> anyhow::Result<&'a Cluster> {
        self.stack.postgres().context("the soak needs a cluster of its own")
    }
}
