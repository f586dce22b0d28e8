//! What proxies report: how far their copies of the client table are, and whom they have seen.
//!
//! In: reports, each from a proxy that was admitted. Out: rows of `proxy_sync_reports` and `client_activity`, and
//! refusals in `audit_log`. All that arrives while a batch is being written becomes the next batch. Refused:
//! reports while the database is away; their proxies keep them. Never written here: `clients`.

mod copies;
mod seen;

use std::time::Duration;

use shared::{
    identity::Name,
    shutdown::Shutdown,
    wire::{Code, Problem, report::Report},
};
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{info, warn};

use crate::database::sqlstate;

/// Reports that may wait; a proxy that is refused asks again a second later.
const WAITING: usize = 256;
/// Reports of one batch.
const BATCH: usize = 64;

/// Where reports go.
#[derive(Debug, Clone)]
pub struct Reports(mpsc::Sender<Reported>);

/// A report, who made it, and who waits for it to be written.
#[derive(Debug)]
struct Reported {
    proxy: Name,
    report: Report,
    written: oneshot::Sender<()>,
}

impl Reports {
    /// Writes reports until `shutdown`.
    #[must_use]
    pub fn open(pool: PgPool, deadline: Duration, shutdown: &Shutdown) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        shutdown.spawn("reports", write_all(pool, deadline, receiver, shutdown.clone()));
        Self(sender)
    }

    /// Writes one; returns when it is committed.
    pub async fn write(&self, proxy: Name, report: Report) -> Result<(), Problem> {
        let unwritten = || Problem::new(Code::Overloaded, "the report could not be written; send it again");
        let (written, outcome) = oneshot::channel();
        self.0.try_send(Reported { proxy, report, written }).map_err(|_| unwritten())?;
        outcome.await.map_err(|_| unwritten())
    }
}

async fn write_all(
    pool: PgPool,
    deadline: Duration,
    mut receiver: mpsc::Receiver<Reported>,
    shutdown: Shutdown,
) {
    let mut failing = false;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            count = receiver.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = shutdown.requested() => return,
        }
        let mut outcome = write_within(&pool, deadline, &batch).await;
        if outcome.as_ref().is_err_and(is_of_the_data) {
            // One report that the database cannot hold must not take the others with it.
            for one in std::mem::take(&mut batch) {
                match write_within(&pool, deadline, std::slice::from_ref(&one)).await {
                    Ok(()) => batch.push(one),
                    Err(error) => warn!(%error, proxy = %one.proxy, "a report cannot be written"),
                }
            }
            outcome = Ok(());
        }
        // Whoever is dropped unanswered asks again.
        match outcome {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    info!("the proxies' reports are written again");
                }
                answer(batch);
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "cannot write the proxies' reports; they keep them");
                }
            }
        }
    }
}

fn answer(written: Vec<Reported>) {
    for one in written {
        // A proxy that waits no longer sends it again.
        let _ = one.written.send(());
    }
}

/// SQLSTATE classes 22 (data) and 23 (constraints).
fn is_of_the_data(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

async fn write_within(pool: &PgPool, deadline: Duration, batch: &[Reported]) -> Result<(), sqlx::Error> {
    timeout(deadline, write(pool, batch)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn write(pool: &PgPool, batch: &[Reported]) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // A crash may take the last moments of this with it. It is no reason for an fsync every second.
    sqlx::query!("SELECT set_config('synchronous_commit', 'off', true)").fetch_one(&mut *transaction).await?;
    copies::write(&mut transaction, batch).await?;
    seen::write(&mut transaction, batch).await?;
    transaction.commit().await
}
