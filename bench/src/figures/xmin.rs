//! What somebody else's open transaction costs: while it is there, Postgres may remove no dead row.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use local::psql;

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::Window,
    scene::Scene,
};

/// Two minutes of load, then what is measured; the same without the transaction.
const WINDOW: Window = Window { warm_up_ms: 120_000, window_ms: 10_000 };

#[derive(Debug)]
pub(super) struct HeldXmin;

impl Figure for HeldXmin {
    fn row(&self) -> Row {
        Row {
            name: "held_xmin",
            what: "end to end after 2 minutes with another transaction open ÷ after 2 minutes without",
            unit: "messages/s",
            compare: Compare::OursToPeer,
            goal: Goal::AtLeast(0.8),
            peer: Some("ours, without the transaction"),
            slow: true,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let ours = scene.ours()?;
        let held = Held::begin(ours.stack.owner_url())?;
        let sample = ours.end_to_end(WINDOW);
        held.is_still_there()?;
        sample
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        scene.ours()?.end_to_end(WINDOW).map(Some)
    }
}

/// What the session is called in the database.
const HELD: &str = "bench held";

/// A session that is idle in its transaction. Dropping it ends it.
struct Held {
    psql: Child,
    url: String,
}

impl Held {
    fn begin(url: &str) -> anyhow::Result<Self> {
        let mut psql = Command::new("psql");
        psql.env("PGAPPNAME", HELD)
            .args(["--no-psqlrc", "--quiet", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = psql.spawn().context("cannot run psql")?;
        let stdin = child.stdin.as_mut().context("psql without standard input")?;
        // a snapshot is taken by the first query
        writeln!(stdin, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM queues;")?;
        stdin.flush()?;
        Ok(Self { psql: child, url: url.to_owned() })
    }

    fn is_still_there(&self) -> anyhow::Result<()> {
        let holding = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{HELD}' \
             AND state = 'idle in transaction' AND backend_xmin IS NOT NULL"
        );
        anyhow::ensure!(psql(&self.url, &holding)?.trim() == "1", "the open transaction ended too early");
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ended_already = self.psql.kill();
        let _reaped = self.psql.wait();
    }
}
