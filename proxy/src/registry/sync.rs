//! Keeping the copy of the client table current.
//!
//! Every `poll`, and at once when the database hints at a change, everything that changed since the last
//! sync is fetched in one snapshot. "Since" is the previous snapshot's xmin: transactions commit out of
//! order, and whatever had not committed then has an id at or above it, so nothing is missed; some rows
//! are fetched twice, which changes nothing. A hint (NOTIFY) carries nothing and may be lost or forged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    identity::{Fingerprint, Name},
    serve::{Connection, Connections},
    shutdown::Shutdown,
};
use sqlx::{
    PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::Notify, time::timeout};
use tracing::{debug, error, info, warn};

use super::{Registry, Row, Status, row::reason_code};
use crate::config;

const CHANNEL: &str = "portcullis_registry";
/// Between attempts to listen for hints.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Fetches changes into a [`Registry`].
#[derive(Debug)]
pub struct Sync {
    registry: Arc<Registry>,
    connections: Arc<Connections>,
    pool: PgPool,
    poll: Duration,
    deadline: Duration,
    position: Option<Position>,
}

/// How far the copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// Another epoch than the table's: the table was truncated, load it afresh.
    epoch: i64,
    /// The xmin of the last snapshot.
    xmin: i64,
}

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The database refused or did not answer.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// It did not answer in time.
    #[error("no answer from the database within {0:?}")]
    Timeout(Duration),
}

impl Sync {
    /// A sync that has not begun; it connects when it first needs to.
    pub fn new(
        config: &config::Registry,
        registry: Arc<Registry>,
        connections: Arc<Connections>,
    ) -> Result<Self, SyncError> {
        let options: PgConnectOptions = config.database_url.expose().parse()?;
        let millis = config.statement_timeout.0.as_millis().to_string();
        let options =
            options.application_name("portcullis-proxy").options([("statement_timeout", millis.as_str())]);
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(config.statement_timeout.0)
            .connect_lazy_with(options);
        Ok(Self {
            registry,
            connections,
            pool,
            poll: config.poll.0,
            deadline: config.statement_timeout.0,
            position: None,
        })
    }

    /// Syncs until the soft stop. A failure is logged when it begins and when it ends.
    pub async fn run(mut self, shutdown: Shutdown) {
        let hint = Arc::new(Notify::new());
        shutdown.spawn("registry hints", listen(self.pool.clone(), hint.clone(), shutdown.clone()));
        let mut failing = false;
        while !shutdown.is_requested() {
            match self.sync().await {
                Ok(()) if failing => {
                    failing = false;
                    info!(clients = self.registry.len(), "registry sync works again");
                }
                Ok(()) => {}
                Err(error) if failing => debug!(%error, "registry sync still fails"),
                Err(error) => {
                    failing = true;
                    error!(%error, "registry sync fails; serving from the last copy until it is too old");
                }
            }
            tokio::select! {
                () = hint.notified() => {}
                () = tokio::time::sleep(self.poll) => {}
                () = shutdown.requested() => {}
            }
        }
    }

    /// Fetches what changed, once.
    pub async fn sync(&mut self) -> Result<(), SyncError> {
        let began = Instant::now();
        // A snapshot of a million clients takes longer than a statement; only the rest has this deadline.
        let limit = if self.position.is_none() { self.deadline * 6 } else { self.deadline };
        timeout(limit, self.fetch()).await.map_err(|_| SyncError::Timeout(limit))??;
        self.registry.synced_at(began);
        Ok(())
    }

    async fn fetch(&mut self) -> Result<(), SyncError> {
        // One snapshot for all three queries.
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let position = sqlx::query!(
            r#"-- registry.position
            SELECT epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "xmin!" FROM registry_epoch"#
        )
        .fetch_one(&mut *transaction)
        .await?;
        let position = Position { epoch: position.epoch, xmin: position.xmin };
        match self.position {
            Some(before) if before.epoch == position.epoch => {
                let removed = removed_since(&mut transaction, before.xmin).await?;
                let changed = changed_since(&mut transaction, before.xmin).await?;
                self.apply(removed, changed);
            }
            _ => {
                let rows = changed_since(&mut transaction, 0).await?;
                info!(clients = rows.len(), "registry loaded");
                self.registry.replace(rows);
                self.connections.close_where(|connection| self.is_refused(connection));
            }
        }
        transaction.commit().await?;
        self.position = Some(position);
        Ok(())
    }

    /// Applies changes, then closes the connections of exactly the certificates that are refused from now on.
    fn apply(&self, mut removed: Vec<Fingerprint>, mut changed: Vec<(Fingerprint, Row)>) {
        // Who was refused before may be hearing why on a connection of just now: a row that is fetched
        // again must not close it.
        removed.retain(|one| self.registry.row(one).is_some());
        changed.retain(|(one, row)| self.registry.row(one).is_none_or(|held| *held != *row));
        if removed.is_empty() && changed.is_empty() {
            return;
        }
        let refused: Vec<_> =
            changed.iter().filter(|(_, row)| row.status != Status::Active).map(|(one, _)| *one).collect();
        self.registry.apply(&removed, changed);
        for fingerprint in removed.iter().chain(&refused) {
            let closed = self.connections.close(fingerprint);
            if closed > 0 {
                info!(%fingerprint, closed, "closing the connections of a certificate that is no longer admitted");
            }
        }
    }

    fn is_refused(&self, connection: &Connection) -> bool {
        let row = self.registry.row(&connection.peer.certificate.fingerprint);
        row.is_none_or(|row| row.status != Status::Active)
    }
}

async fn removed_since(
    transaction: &mut Transaction<'_, Postgres>,
    xmin: i64,
) -> Result<Vec<Fingerprint>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"-- registry.removed
        SELECT fingerprint AS "fingerprint!" FROM client_registry_removed WHERE change_xid >= $1::text::xid8"#,
        xmin.to_string()
    )
    .fetch_all(&mut **transaction)
    .await?;
    Ok(rows.iter().filter_map(|text| text.parse().ok()).collect())
}

async fn changed_since(
    transaction: &mut Transaction<'_, Postgres>,
    xmin: i64,
) -> Result<Vec<(Fingerprint, Row)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- registry.changed
        SELECT fingerprint AS "fingerprint!", client_id AS "client_id!", domain AS "domain!", status AS "status!",
               -- an operator may write 'infinity'; no row may stop the sync of the others
               CASE expires_at WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN 0
                    ELSE floor(extract(epoch FROM expires_at))::bigint END AS "expires_at!",
               CASE WHEN isfinite(revoked_at) THEN floor(extract(epoch FROM revoked_at))::bigint END AS revoked_at,
               reason_code
        FROM client_registry WHERE change_xid >= $1::text::xid8"#,
        xmin.to_string()
    )
    .fetch_all(&mut **transaction)
    .await?;
    let mut parsed = Vec::with_capacity(rows.len());
    for row in rows {
        let (Ok(fingerprint), Ok(client_id)) = (row.fingerprint.parse(), row.client_id.parse::<Name>())
        else {
            // The table's CHECKs make this impossible; were they dropped, the certificate stays unknown.
            warn!(client_id = ?row.client_id, "a client's row cannot be read and is left out");
            continue;
        };
        let status = match row.status.as_str() {
            "active" => Status::Active,
            "suspended" => Status::Suspended,
            "expired" => Status::Expired,
            _ => Status::Revoked {
                at: row.revoked_at.unwrap_or_default(),
                reason: reason_code(row.reason_code.as_deref()),
            },
        };
        let row = Row { client_id, domain: row.domain.into(), status, expires_at: row.expires_at };
        parsed.push((fingerprint, row));
    }
    Ok(parsed)
}

/// Turns notifications into hints. Its failures are harmless: the poll goes on without it.
async fn listen(pool: PgPool, hint: Arc<Notify>, shutdown: Shutdown) {
    while !shutdown.is_requested() {
        let heard = tokio::select! {
            heard = hear(&pool, &hint) => heard,
            () = shutdown.requested() => return,
        };
        if let Err(error) = heard {
            debug!(%error, "not hearing the database's hints; polling goes on");
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            () = shutdown.requested() => return,
        }
    }
}

async fn hear(pool: &PgPool, hint: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // None: the connection was lost and hints with it.
        listener.try_recv().await?;
        hint.notify_one();
    }
}
