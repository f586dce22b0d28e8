//! Keeping the copy of the client table current.
//!
//! Every `poll`, and at once when the database hints at a change, everything that was not in the last sync's
//! snapshot is fetched in one snapshot (see [`Position`]). A hint (NOTIFY) carries nothing and may be lost or
//! forged. The first sync, and one after a TRUNCATE or on another server, loads the whole table, row by row.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;

use shared::{
    identity::{Fingerprint, Name},
    serve::{Connection, Connections},
    shutdown::Shutdown,
};
use sqlx::{
    PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::watch, time::timeout};
use tracing::{debug, error, info, warn};

use super::{RateOverride, Registry, Row, Status, position::Position, row::reason_code, shards::Loading};
use crate::config;

/// A whole table may take so many times longer than a statement.
const LOAD: u32 = 6;
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
    /// Many clients share a domain: each is kept once.
    domains: HashSet<Arc<str>>,
    /// Heard from the database: something changed.
    hints: watch::Sender<()>,
}

/// A row as the view has it.
struct Fetched {
    fingerprint: String,
    client_id: String,
    domain: String,
    status: String,
    expires_at: i64,
    revoked_at: Option<i64>,
    reason_code: Option<String>,
    rate: Option<Vec<Option<f64>>>,
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
    /// A snapshot that is not written as the manual says.
    #[error("the database's snapshot `{0}` cannot be read")]
    Snapshot(String),
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
        let options = options.application_name("portcullis-proxy").options([
            ("statement_timeout", millis.as_str()),
            // what changed lies at the end of an index: only a plan made for these very numbers knows
            ("plan_cache_mode", "force_custom_plan"),
        ]);
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
            domains: HashSet::new(),
            hints: watch::Sender::new(()),
        })
    }

    /// The database's hints that something changed, for whoever reads something else there. They may be lost.
    #[must_use]
    pub fn hints(&self) -> watch::Receiver<()> {
        self.hints.subscribe()
    }

    /// Syncs until the soft stop. A failure is logged when it begins and when it ends.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut hints = self.hints();
        shutdown.spawn("registry hints", listen(self.pool.clone(), self.hints.clone(), shutdown.clone()));
        let mut failing = false;
        while !shutdown.is_requested() {
            match self.sync().await {
                Ok(_) if failing => {
                    failing = false;
                    info!(clients = self.registry.len(), "registry sync works again");
                }
                Ok(_) => {}
                Err(error) if failing => debug!(%error, "registry sync still fails"),
                Err(error) => {
                    failing = true;
                    error!(%error, "registry sync fails; serving from the last copy until it is too old");
                }
            }
            tokio::select! {
                Ok(()) = hints.changed() => {}
                () = tokio::time::sleep(self.poll) => {}
                () = shutdown.requested() => {}
            }
        }
    }

    /// Fetches what changed, once; answers how many rows and removals that were.
    pub async fn sync(&mut self) -> Result<usize, SyncError> {
        let began = Instant::now();
        // A snapshot of a million clients takes longer than a statement; only the rest has this deadline.
        let limit = if self.position.is_none() { self.deadline * LOAD } else { self.deadline };
        timeout(limit, self.fetch(began)).await.map_err(|_| SyncError::Timeout(limit))?
    }

    async fn fetch(&mut self, began: Instant) -> Result<usize, SyncError> {
        // One snapshot for all queries.
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let position = position(&mut transaction).await?;
        let before = self.position.take_if(|before| position.continues(before));
        let anew = before.is_none();
        let fetched = if let Some(before) = before {
            self.position = Some(before.clone());
            let removed = removed_since(&mut transaction, &before, &position).await?;
            let changed = self.changed_since(&mut transaction, &before, &position).await?;
            let fetched = removed.len() + changed.len();
            self.apply(removed, changed).await;
            fetched
        } else {
            self.position = None;
            let loading = self.load(&mut transaction).await?;
            let rows = loading.len();
            self.registry.replace(loading);
            info!(clients = rows, took = ?began.elapsed(), "registry loaded");
            self.connections.close_where(|connection| self.is_refused(connection));
            rows
        };
        transaction.commit().await?;
        self.registry.synced_at(began);
        self.registry.has_applied(position.snapshot().into(), fetched > 0 || anew);
        self.position = Some(position);
        Ok(fetched)
    }

    /// The whole table, one row after the other.
    async fn load(&mut self, transaction: &mut Transaction<'_, Postgres>) -> Result<Loading, SyncError> {
        let millis = (self.deadline * LOAD).as_millis().to_string();
        sqlx::query!("SELECT set_config('statement_timeout', $1, true)", millis)
            .fetch_one(&mut **transaction)
            .await?;
        self.domains.clear();
        let mut loading = Loading::new();
        let mut rows = sqlx::query_as!(
            Fetched,
            r#"-- registry.load
            SELECT fingerprint AS "fingerprint!", client_id AS "client_id!", domain AS "domain!", status AS "status!",
                   -- an operator may write 'infinity'; no row may stop the sync of the others
                   CASE expires_at WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN 0
                        ELSE floor(extract(epoch FROM expires_at))::bigint END AS "expires_at!",
                   CASE WHEN isfinite(revoked_at) THEN floor(extract(epoch FROM revoked_at))::bigint END AS revoked_at,
                   reason_code, rate AS "rate: Vec<Option<f64>>"
            FROM client_registry"#
        )
        .fetch(&mut **transaction);
        while let Some(row) = rows.try_next().await? {
            if let Some((fingerprint, row)) = self.parse(row) {
                loading.add(fingerprint, row);
            }
        }
        drop(rows);
        loading.settle().await;
        Ok(loading)
    }

    async fn changed_since(
        &mut self,
        transaction: &mut Transaction<'_, Postgres>,
        before: &Position,
        now: &Position,
    ) -> Result<Vec<(Fingerprint, Row)>, sqlx::Error> {
        let rows = sqlx::query_as!(
            Fetched,
            r#"-- registry.changed
            SELECT fingerprint AS "fingerprint!", client_id AS "client_id!", domain AS "domain!", status AS "status!",
                   CASE expires_at WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN 0
                        ELSE floor(extract(epoch FROM expires_at))::bigint END AS "expires_at!",
                   CASE WHEN isfinite(revoked_at) THEN floor(extract(epoch FROM revoked_at))::bigint END AS revoked_at,
                   reason_code, rate AS "rate: Vec<Option<f64>>"
            FROM client_registry
            WHERE (change_xid >= $1::text::xid8 AND change_xid < $2::text::xid8)
               OR change_xid = ANY ($3::text[]::xid8[])"#,
            before.xmax.to_string(),
            now.end(),
            &before.open_ids(),
        )
        .fetch_all(&mut **transaction)
        .await?;
        Ok(rows.into_iter().filter_map(|row| self.parse(row)).collect())
    }

    fn parse(&mut self, row: Fetched) -> Option<(Fingerprint, Row)> {
        let (Ok(fingerprint), Ok(client_id)) = (row.fingerprint.parse(), row.client_id.parse::<Name>())
        else {
            // The table's CHECKs make this impossible; were they dropped, the certificate stays unknown.
            warn!(client_id = ?row.client_id, "a client's row cannot be read and is left out");
            return None;
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
        let domain = if let Some(known) = self.domains.get(row.domain.as_str()) {
            known.clone()
        } else {
            let new: Arc<str> = row.domain.into();
            self.domains.insert(new.clone());
            new
        };
        let rate = row.rate.map(|columns| Arc::new(RateOverride::of_columns(&columns)));
        Some((fingerprint, Row { client_id, domain, status, expires_at: row.expires_at, rate }))
    }

    /// Applies changes, then closes the connections of exactly the certificates that are refused from now on.
    async fn apply(&self, mut removed: Vec<Fingerprint>, mut changed: Vec<(Fingerprint, Row)>) {
        // Who was refused before may be hearing why on a connection of just now: a row that is fetched
        // again must not close it.
        removed.retain(|one| self.registry.row(one).is_some());
        changed.retain(|(one, row)| self.registry.row(one).is_none_or(|held| held != *row));
        if removed.is_empty() && changed.is_empty() {
            return;
        }
        let refused: Vec<_> =
            changed.iter().filter(|(_, row)| row.status != Status::Active).map(|(one, _)| *one).collect();
        self.registry.rows.apply(&removed, changed).await;
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

async fn position(transaction: &mut Transaction<'_, Postgres>) -> Result<Position, SyncError> {
    let now = sqlx::query!(
        r#"-- registry.position
        SELECT epoch, pruned_through::text AS "pruned!", pg_current_snapshot()::text AS "snapshot!", pg_is_in_recovery() AS "standby!",
               (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS "server!"
        FROM registry_epoch"#
    )
    .fetch_one(&mut **transaction)
    .await?;
    let pruned = now.pruned.parse().ok();
    let position =
        pruned.and_then(|pruned| Position::of(now.epoch, now.server, pruned, &now.snapshot, now.standby));
    position.ok_or(SyncError::Snapshot(now.snapshot))
}

async fn removed_since(
    transaction: &mut Transaction<'_, Postgres>,
    before: &Position,
    now: &Position,
) -> Result<Vec<Fingerprint>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"-- registry.removed
        SELECT fingerprint AS "fingerprint!" FROM client_registry_removed
        WHERE (change_xid >= $1::text::xid8 AND change_xid < $2::text::xid8)
           OR change_xid = ANY ($3::text[]::xid8[])"#,
        before.xmax.to_string(),
        now.end(),
        &before.open_ids(),
    )
    .fetch_all(&mut **transaction)
    .await?;
    Ok(rows.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Turns notifications into hints. Its failures are harmless: the poll goes on without it.
async fn listen(pool: PgPool, hints: watch::Sender<()>, shutdown: Shutdown) {
    while !shutdown.is_requested() {
        let heard = tokio::select! {
            heard = hear(&pool, &hints) => heard,
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

async fn hear(pool: &PgPool, hints: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // None: the connection was lost and hints with it.
        listener.try_recv().await?;
        hints.send_replace(());
    }
}
