//! What is left of Postgres' own rate, once there is a product around it.

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{self, Ask, Load},
    ours::{BATCH_MESSAGES, rate},
    scene::Scene,
};

/// Of each of the bare inserts' statements.
const ROWS: usize = 500;
/// More than one, which Postgres can do in parallel; the main server has one writer.
const CONNECTIONS: usize = 2;

#[derive(Debug)]
pub(super) struct Rows;

impl Figure for Rows {
    fn row(&self) -> Row {
        Row {
            name: "ingest_vs_postgres",
            what: "batch ingest ÷ bare inserts of 500 of the same rows, 2 connections",
            unit: "messages/s",
            compare: Compare::OursToPeer,
            goal: Goal::AtLeast(0.5),
            peer: Some("bare UNNEST inserts, same cluster"),
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let window = scene.window();
        let ours = scene.ours()?;
        ours.needs_batches()?;
        ours.ingest(Ask::Batch(BATCH_MESSAGES), window)
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let window = scene.window();
        let ours = scene.ours()?;
        ours.reset()?;
        ours.fill(ROWS as u64)?;
        let load = load::Rows {
            database_url: ours.stack.owner_url().to_owned(),
            like: "messages".to_owned(),
            connections: CONNECTIONS,
            per_statement: ROWS,
            window,
        };
        let watched = ours.watched().into_iter().filter(|one| one.label == "postgres").collect();
        rate(&Load::Rows(load), watched).map(Some)
    }
}
