//! A revocation list of a million entries: what it does to handshakes, and what reading it anew does to requests.
//!
//! A second proxy of the same stack has the list as a file; the first one has the stack's own, which is empty.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::Context as _;
use tempfile::TempDir;

use super::handshake::handshakes;
use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Ask, Load, Pace, Requests, Running},
    scene::Scene,
};

const ENTRIES: u32 = 1_000_000;
/// How long after a list came the next one comes.
const NEXT: Duration = Duration::from_millis(2500);
/// Lists that are signed before; more than come in one run.
const LISTS: u64 = 4;

/// The lists, and which one comes next.
#[derive(Debug, Default)]
struct Lists(Option<Made>);

#[derive(Debug)]
struct Made {
    folder: TempDir,
    /// The second proxy's place.
    proxy: usize,
    number: u64,
}

impl Lists {
    /// The second proxy, which has the list.
    fn proxy(&mut self, scene: &mut Scene) -> anyhow::Result<&mut Made> {
        if self.0.is_none() {
            let folder = tempfile::Builder::new().prefix("portcullis-bench-").tempdir()?;
            let ours = scene.ours()?;
            let mut made = Made { folder, proxy: ours.stack.proxies.len(), number: 0 };
            made.come(scene)?;
            let file = made.folder.path().join("clients.crl");
            scene.ours()?.stack.add_proxy(&format!("[crl]\nfiles = [{file:?}]"))?;
            self.0 = Some(made);
        }
        self.0.as_mut().context("made above")
    }
}

impl Made {
    /// Signs the next lists, so that only their coming is measured.
    fn sign(&self, scene: &mut Scene) -> anyhow::Result<Vec<PathBuf>> {
        let sign = |ahead| {
            let file = self.folder.path().join(format!("{ahead}.signed"));
            fs::write(&file, scene.ours()?.stack.sign_large_list(ENTRIES, ahead)?)?;
            Ok(file)
        };
        (self.number + 1..=self.number + LISTS).map(sign).collect()
    }

    /// Replaces the proxy's list by the next one.
    fn come(&mut self, scene: &mut Scene) -> anyhow::Result<()> {
        self.number += 1;
        let file = self.folder.path().join("next");
        fs::write(&file, scene.ours()?.stack.sign_large_list(ENTRIES, self.number)?)?;
        Ok(fs::rename(file, self.folder.path().join("clients.crl"))?)
    }
}

/// `crl_1m_handshake`.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Lists);

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
        let proxy = self.0.proxy(scene)?.proxy;
        let window = scene.window();
        let ours = scene.ours()?;
        handshakes(ours.target(proxy)?, window, ours.watched())
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let window = scene.window();
        let ours = scene.ours()?;
        handshakes(ours.target(0)?, window, ours.watched()).map(Some)
    }
}

/// `crl_reload_p99`.
#[derive(Debug, Default)]
pub(super) struct Reload(Lists);

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
        let proxy = self.0.proxy(scene)?;
        let lists = proxy.sign(scene)?;
        proxy.number += LISTS;
        let file = proxy.folder.path().join("clients.crl");
        let mut running = Running::start(&load(proxy.proxy, scene)?)?;
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
        sample
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let proxy = self.0.proxy(scene)?.proxy;
        let mut running = Running::start(&load(proxy, scene)?)?;
        running.begin()?;
        p99(running).map(Some)
    }
}

/// Single messages at a fifth of what the stack takes at most.
fn load(proxy: usize, scene: &mut Scene) -> anyhow::Result<Load> {
    let pace = Pace::Open(scene.maximum()? / 5.0);
    let window = scene.window();
    let ours = scene.ours()?;
    ours.reset()?;
    let target = ours.target(proxy)?;
    Ok(Load::Requests(Requests { target, pace, ..ours.requests(Ask::Message, window)? }))
}

fn p99(mut running: Running) -> anyhow::Result<Sample> {
    let outcome = running.end()?.checked()?;
    let latency = outcome.latency.context("no answer was timed")?;
    let sample = Sample::of(latency.p99).with("p50_ms", latency.p50).with("max_ms", latency.max);
    Ok(sample.with("messages_per_second", outcome.rate()))
}
