//! What an idle connection holds in the proxy's memory.

use std::{thread::sleep, time::Duration};

use anyhow::Context as _;

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Handshakes, Load, Running, Window},
    processor::resident_kib,
    scene::Scene,
};

const CONNECTIONS: usize = 5000;
const BEFORE: usize = 50;
/// A connection is idle when nothing was asked on it for a while; the proxy then puts it aside.
const SETTLED: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Idle;

impl Figure for Idle {
    fn row(&self) -> Row {
        Row {
            name: "idle_connection_kib",
            what: "memory of the proxy per idle mTLS connection, 5,000 of them, one request done on each",
            unit: "KiB",
            compare: Compare::Ours,
            goal: Goal::AtMost(24.0),
            peer: None,
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let ours = scene.ours()?;
        // memory that an earlier figure's load left behind would be used again, and hide what is measured
        let proxy = &ours.stack.proxies.first().context("no proxy")?.process;
        proxy.stop()?;
        proxy.start()?;
        let pid = proxy.pid().context("the proxy is gone")?;
        let target = ours.target(0)?;
        let hold = |connections| {
            let load = Handshakes { target: target.clone(), connections, window: Window::default() };
            let mut running = Running::start(&Load::Idle(load))?;
            running.begin()?;
            anyhow::Ok(running)
        };
        // what the first connections bring once is not theirs
        let mut few = hold(BEFORE)?;
        sleep(SETTLED);
        let before = resident_kib(pid)?;
        let mut many = hold(CONNECTIONS)?;
        sleep(SETTLED);
        let after = resident_kib(pid)?;
        for running in [&mut few, &mut many] {
            running.let_go();
            running.end()?;
        }
        let each = (after - before) / crate::statistics::float(CONNECTIONS);
        Ok(Sample::of(each).with("rss_mib_before", before / 1024.0).with("rss_mib_after", after / 1024.0))
    }
}
