//! Clients that speak, and how long after COMMIT each one that is revoked is refused on its open connection.
//!
//! All clients are connected, each with a certificate of its own. Those that are not revoked send messages at a fixed
//! rate. The next to be revoked asks without pause; it is refused when it is answered 403 or loses its connection.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection};
use tokio::{sync::watch, task::JoinSet};

use super::{
    connection::Connection,
    meter::{Meter, Signals},
    pacer::Pacer,
    request::Request,
    tls,
};
use crate::load::{Ask, Outcome, Revocations};

/// How long a client asks before it is revoked, and how long it may take.
const BEFORE: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(10);

pub(super) async fn run(load: Revocations, signals: Signals) -> anyhow::Result<Outcome> {
    let mut operator =
        PgConnection::connect(&load.database_url).await.context("cannot reach the database")?;
    let mut open = Vec::with_capacity(load.targets.len());
    for client in &load.targets {
        let tls = tls::connector(&client.target)?;
        open.push(Connection::open(client.target.address, &tls).await?);
    }
    let meter = Meter::default();
    let others = open.split_off(load.revoke.min(open.len()));
    let pacer = Pacer::start(load.per_second);
    let mut tasks = JoinSet::new();
    for connection in others {
        tasks.spawn(speak(connection, pacer.clone(), meter.clone()));
    }
    let mut waiting = Vec::new();
    for connection in open {
        let (start, begun) = watch::channel(false);
        waiting.push((start, tokio::task::JoinSet::from_iter([until_refused(connection, begun)])));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    meter.begin(signals)?;
    let mut times_ms = Vec::with_capacity(waiting.len());
    for ((start, mut refused), client) in waiting.into_iter().zip(&load.targets) {
        start.send_replace(true);
        tokio::time::sleep(BEFORE).await;
        let committed = revoke(&mut operator, &client.id).await?;
        let Ok(Some(refused)) = tokio::time::timeout(LATE, refused.join_next()).await else {
            bail!("{} was not refused within {LATE:?}", client.id);
        };
        times_ms.push(refused??.saturating_duration_since(committed).as_secs_f64() * 1000.0);
    }
    Ok(Outcome { times_ms, ..meter.end() })
}

/// When the answer to COMMIT came.
async fn revoke(operator: &mut PgConnection, client_id: &str) -> anyhow::Result<Instant> {
    let statement = "UPDATE clients SET status = 'revoked', revoked_at = now(), \
                     revocation_reason = 'keyCompromise' WHERE client_id = $1";
    let done = sqlx::query(statement).bind(client_id).execute(operator).await?;
    anyhow::ensure!(done.rows_affected() == 1, "{client_id} is not registered");
    Ok(Instant::now())
}

/// Once begun, asks until refused; when that was.
async fn until_refused(
    mut connection: Connection,
    mut begun: watch::Receiver<bool>,
) -> anyhow::Result<Instant> {
    let mut request = Request::new(Ask::Health);
    let bytes = request.next(&mut 0).to_vec();
    anyhow::ensure!(connection.ask(&bytes).await?.status == 200, "refused before it was revoked");
    // its connection stays open: what is idle for less than a minute is nobody's business
    while !*begun.borrow_and_update() {
        tokio::select! {
            changed = begun.changed() => changed?,
            () = tokio::time::sleep(Duration::from_secs(20)) => {
                anyhow::ensure!(connection.ask(&bytes).await?.status == 200, "refused before it was revoked");
            }
        }
    }
    loop {
        match connection.ask(&bytes).await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) if answer.status == 403 => return Ok(Instant::now()),
            Ok(answer) => bail!("answer {} instead of a refusal", answer.status),
            // idle between two requests when the change came: closed, which refuses as well
            Err(_) => return Ok(Instant::now()),
        }
    }
}

async fn speak(mut connection: Connection, pacer: Pacer, meter: Meter) {
    let mut request = Request::new(Ask::Message);
    let mut counter = 0;
    loop {
        let due = pacer.next().await;
        match connection.ask(request.next(&mut counter)).await {
            Ok(answer) if answer.status == 202 => meter.done(1, due.elapsed()),
            Ok(answer) => meter.failed(|| format!("answer {}", answer.status)),
            Err(error) => return meter.failed(|| format!("somebody else's connection: {error}")),
        }
    }
}
