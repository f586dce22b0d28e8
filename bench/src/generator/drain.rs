//! Leases jobs and completes them, without a sink between, until so many are done.

use std::{sync::Arc, time::Instant};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    connection::Connection,
    meter::{Meter, Signals},
    request::Request,
    tls,
};
use crate::load::{Drain, Outcome};

/// What is kept of a lease's answer.
#[derive(Deserialize)]
struct Leased {
    jobs: Vec<Held>,
}

#[derive(Serialize, Deserialize)]
struct Held {
    job_id: String,
    lease_token: String,
}

#[derive(Deserialize)]
struct Completed {
    results: Vec<Completion>,
}

#[derive(Deserialize)]
struct Completion {
    outcome: String,
}

pub(super) async fn run(load: Drain, signals: Signals) -> anyhow::Result<Outcome> {
    let tls = tls::connector(&load.target)?;
    let load = Arc::new(load);
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(Connection::open(load.target.address, &tls).await?);
    }
    // connecting is no part of what is measured
    let meter = Meter::default();
    meter.begin(signals)?;
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(drain(load.clone(), connection, meter.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(meter.end())
}

async fn drain(load: Arc<Drain>, mut connection: Connection, meter: Meter) -> anyhow::Result<()> {
    let ask = json!({ "queue": "default", "max": load.batch, "lease_seconds": 60, "wait_seconds": 0 });
    let mut lease = Request::post("/api/v1/jobs/lease", &ask.to_string(), 200, 1);
    while meter.counted() < load.jobs {
        let began = Instant::now();
        let answer = connection.ask(lease.next(&mut 0)).await?;
        ensure!(answer.status == 200, "lease: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        let leased: Leased = serde_json::from_slice(answer.body)?;
        if leased.jobs.is_empty() {
            ensure!(meter.counted() > 0, "nothing to lease");
            return Ok(());
        }
        let body = json!({ "jobs": leased.jobs }).to_string();
        let mut complete = Request::post("/api/v1/jobs/complete", &body, 200, 1);
        let answer = connection.ask(complete.next(&mut 0)).await?;
        ensure!(answer.status == 200, "complete: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        let completed: Completed = serde_json::from_slice(answer.body)?;
        ensure!(completed.results.iter().all(|result| result.outcome == "ok"), "a lease was lost");
        meter.done(completed.results.len() as u64, began.elapsed());
    }
    Ok(())
}
