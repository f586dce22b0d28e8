//! A revocation list of a million entries: what it does to handshakes, and what reading it anew does to requests.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, ensure};
use local::eventually;

use super::handshake::handshakes;
use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Ask, Load, Pace, Requests, Running},
    scene::Scene,
};

/// How long after a list came the next one comes.
const NEXT: Duration = Duration::from_millis(2500);
/// How long after the run the last one may come into force.
const IN_FORCE: Duration = Duration::from_secs(5);

/// `crl_1m_handshake`.
#[derive(Debug)]
pub(super) struct Handshakes;

impl Figure for Handshakes {
    fn row(&self) -> Row {
        Row {
            name: "crl_1m_handshake",
            what: "handshakes with a list of 1,000,000 entries ÷ with an empty one",
            unit: "connections/s",
            compare: Compare::OursToPeer,
            goal: Goal::AtLeast(0.95),
            peer: Some("ours, with an empty list"),
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let window = scene.window();
        let (ours, list) = scene.large_list()?;
        handshakes(list.target(ours)?, window, ours.watched())
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let window = scene.window();
        let ours = scene.ours()?;
        handshakes(ours.target(0)?, window, ours.watched()).map(Some)
    }
}

/// `crl_reload_p99`.
#[derive(Debug)]
pub(super) struct Reload;

impl Figure for Reload {
    fn row(&self) -> Row {
        Row {
            name: "crl_reload_p99",
            what: "p99 of a message's answer while a list of 1,000,000 entries is read anew ÷ without, at 20 % load",
            unit: "ms",
            compare: Compare::OursToPeer,
            goal: Goal::AtMost(1.5),
            peer: Some("ours, without a reload"),
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        // as many as come in one run
        let lists = scene.so_many(4, 1);
        let load = load(scene)?;
        let (ours, list) = scene.large_list()?;
        let (lists, file) = (list.sign(ours, lists)?, list.file());
        let to_be = list.in_force(ours)? + lists.len() as u64;
        let mut running = Running::start(&load)?;
        running.begin()?;
        // a thread of this process, which sleeps; what it costs is a rename
        let coming = thread::spawn(move || -> std::io::Result<()> {
            for list in lists {
                fs::rename(list, &file)?;
                thread::sleep(NEXT);
            }
            Ok(())
        });
        let sample = p99(running);
        coming.join().map_err(|_| anyhow::anyhow!("replacing the lists failed"))??;
        let sample = sample?;
        // or a proxy that reads fewer of them would look quicker
        let all = || list.in_force(ours).is_ok_and(|lists| lists >= to_be).then_some(());
        ensure!(eventually(IN_FORCE, all).is_some(), "not all lists came into force");
        Ok(sample)
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let mut running = Running::start(&load(scene)?)?;
        running.begin()?;
        p99(running).map(Some)
    }
}

/// Single messages at a fifth of what the stack takes at most.
fn load(scene: &mut Scene) -> anyhow::Result<Load> {
    let pace = Pace::Open(scene.maximum()? / 5.0);
    let window = scene.window();
    let (ours, list) = scene.large_list()?;
    ours.reset()?;
    let target = list.target(ours)?;
    Ok(Load::Requests(Requests { target, pace, ..ours.requests(Ask::Message, window)? }))
}

fn p99(mut running: Running) -> anyhow::Result<Sample> {
    let outcome = running.end()?.checked()?;
    let latency = outcome.latency.context("no answer was timed")?;
    let sample = Sample::of(latency.p99).with("p50_ms", latency.p50).with("max_ms", latency.max);
    Ok(sample.with("messages_per_second", outcome.rate()))
}
