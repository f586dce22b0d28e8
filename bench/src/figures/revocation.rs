//! From COMMIT of the SQL that revokes a client to its first refusal, on a connection that is open.

use anyhow::Context as _;

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Client, Load, Revocations, generate},
    scene::Scene,
    statistics::{ends, quantile},
};

/// Connected, each with a certificate of its own.
const CLIENTS: usize = 1000;

/// `revocation_p99_ms`.
#[derive(Debug, Default)]
pub(super) struct Revocation {
    clients: Vec<Client>,
    made: usize,
}

impl Figure for Revocation {
    fn row(&self) -> Row {
        Row {
            name: "revocation_p99_ms",
            what: "COMMIT of the SQL to the first refusal on an open connection, 1,000 clients, half load",
            unit: "ms",
            compare: Compare::Ours,
            goal: Goal::AtMost(50.0),
            peer: None,
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let per_second = scene.maximum()? / 2.0;
        let revoke = scene.so_many(100, 20);
        let ours = scene.ours()?;
        ours.reset()?;
        // those of the run before stay revoked
        while self.clients.len() < CLIENTS {
            self.made += 1;
            let id = format!("revocable_{:05}", self.made);
            self.clients.push(Client { target: ours.another_client(&id)?, id });
        }
        let last = self.clients.last().context("a thousand clients")?.id.clone();
        ours.stack.wait_until_known(&ours.stack.client(&last)?)?;
        let load = Revocations {
            targets: self.clients.clone(),
            database_url: ours.stack.database_url(),
            revoke,
            per_second,
        };
        let watched = ours.watched();
        self.clients.drain(..revoke);
        let (outcome, _) = generate(&Load::Revocations(load), watched)?;
        let p99 = quantile(&outcome.times_ms, 0.99).context("nobody was revoked")?;
        let (_, most) = ends(&outcome.times_ms).context("nobody was revoked")?;
        let p50 = quantile(&outcome.times_ms, 0.5).unwrap_or_default();
        let sample = Sample::of(p99).with("p50_ms", p50).with("max_ms", most);
        Ok(sample.with("messages_per_second", outcome.rate()))
    }
}
