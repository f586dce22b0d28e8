//! A proxy with a million clients: how long it loads, what it holds, and whether it is slower for it.

use std::time::Instant;

use anyhow::Context as _;
use local::psql;

use crate::{
    figure::{Also, Compare, Figure, Goal, Row, Sample},
    load::{Ask, Load},
    ours::{Ours, rate},
    processor::resident_kib,
    scene::Scene,
};

const MANY: u32 = 1_000_000;
const FEW: u32 = 100;

/// `registry_1m`; the stack with the million is its own.
#[derive(Debug, Default)]
pub(super) struct Registry {
    large: Option<Ours>,
    small_is_filled: bool,
}

impl Figure for Registry {
    fn row(&self) -> Row {
        Row {
            name: "registry_1m",
            what: "GET /health at a proxy with 1,000,000 clients ÷ with 100; load time and memory",
            unit: "requests/s",
            compare: Compare::OursToPeer,
            goal: Goal::AtLeast(0.95),
            peer: Some("ours, with 100 clients"),
            slow: true,
        }
    }

    fn also(&self) -> &'static [Also] {
        &[
            Also { name: "load_seconds", goal: Goal::AtMost(15.0) },
            Also { name: "rss_mib", goal: Goal::AtMost(250.0) },
        ]
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        if self.large.is_none() {
            let ours = Ours::start("")?;
            fill(&ours, MANY)?;
            self.large = Some(ours);
        }
        let ours = self.large.as_ref().context("started above")?;
        let proxy = &ours.stack.proxies.first().context("no proxy")?.process;
        proxy.stop()?;
        let began = Instant::now();
        proxy.start()?;
        let load_seconds = began.elapsed().as_secs_f64();
        let rss = resident_kib(proxy.pid().context("the proxy is gone")?)? / 1024.0;
        let sample = health(ours, scene)?;
        let later = resident_kib(proxy.pid().context("the proxy is gone")?)? / 1024.0;
        Ok(sample.with("load_seconds", load_seconds).with("rss_mib", rss).with("rss_mib_under_load", later))
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        if !self.small_is_filled {
            fill(scene.ours()?, FEW)?;
            self.small_is_filled = true;
        }
        let window = scene.window();
        let ours = scene.ours()?;
        let load = Load::Requests(ours.requests(Ask::Health, window)?);
        rate(&load, ours.watched()).map(Some)
    }
}

fn health(ours: &Ours, scene: &Scene) -> anyhow::Result<Sample> {
    rate(&Load::Requests(ours.requests(Ask::Health, scene.window())?), ours.watched())
}

/// Registers clients that never come.
fn fill(ours: &Ours, clients: u32) -> anyhow::Result<()> {
    let statement = format!(
        "INSERT INTO clients (client_id, cert_fingerprint, domain, expires_at) \
         SELECT 'absent_' || n, upper(encode(sha256(('absent' || n)::bytea), 'hex')), 'bench', \
         now() + interval '1 year' FROM generate_series(1, {clients}) n"
    );
    psql(ours.stack.owner_url(), &statement)?;
    psql(ours.stack.owner_url(), "VACUUM ANALYZE clients")?;
    Ok(())
}
