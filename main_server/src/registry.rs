//! The services that may speak to us: the table `services`, held in memory and replaced whole.
//!
//! In: the view `service_registry`, read every `registry.poll`, and at once when the database hints at a
//! change. Out: the current rows, by fingerprint, or nothing once they are too old to decide by. No request
//! ever waits for the database here. Services are few, so each reading is a full one.

mod gauges;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use shared::{
    identity::{Fingerprint, Name, Role},
    shutdown::Shutdown,
};
use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::config::RegistryConfig;

/// The channel on which the database hints at a change.
const CHANNEL: &str = "portcullis_registry";

/// One registered certificate of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whose it is.
    pub name: Name,
    /// As what.
    pub role: Role,
    /// Whether it may speak.
    pub status: Status,
    /// When the registration ends, Unix seconds: from then on it is refused.
    pub expires_at: i64,
    /// RFC 5280 reason, if revoked.
    pub reason_code: Option<String>,
}

/// The column `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// May speak.
    Active,
    /// May not, for now.
    Suspended,
    /// May never again.
    Revoked,
    /// Its registration has ended.
    Expired,
}

/// All registered services, by fingerprint.
pub type Services = HashMap<Fingerprint, Registration>;

struct Snapshot {
    services: Arc<Services>,
    /// When the query that read them was *sent*.
    read_at: Instant,
}

/// The current snapshot.
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    max_staleness: Duration,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("age", &self.age()).finish_non_exhaustive()
    }
}

impl Registry {
    /// Reads the services once and keeps reading them until `shutdown`. What the database hints at goes to all
    /// who subscribed to `hints`.
    pub async fn open(
        pool: PgPool,
        config: &RegistryConfig,
        deadline: Duration,
        hints: watch::Sender<()>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Arc<Self>> {
        let first = read_within(&pool, deadline).await.context("cannot read the services")?;
        info!(services = first.services.len(), "services loaded");
        let registry =
            Arc::new(Self { snapshot: ArcSwap::from_pointee(first), max_staleness: config.max_staleness.0 });
        let mut hint = hints.subscribe();
        let (every, stop) = (config.poll.0, shutdown.clone());
        let (listening, stop_listening) = (pool.clone(), shutdown.clone());
        shutdown.spawn("registry.listen", async move {
            tokio::select! {
                () = listen(listening, hints, every) => {}
                () = stop_listening.requested() => {}
            }
        });
        let kept = registry.clone();
        shutdown.spawn("registry.sync", async move {
            loop {
                tokio::select! {
                    () = sleep(every) => {}
                    Ok(()) = hint.changed() => {}
                    () = stop.requested() => break,
                }
                match read_within(&pool, deadline).await {
                    Ok(snapshot) => kept.snapshot.store(Arc::new(snapshot)),
                    Err(error) => {
                        warn!(%error, age = ?kept.age(), "cannot read the services; keeping the last");
                    }
                }
            }
        });
        Ok(registry)
    }

    /// The services, or nothing when the last successful reading is too long ago.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Services>> {
        let snapshot = self.snapshot.load();
        (snapshot.read_at.elapsed() <= self.max_staleness).then(|| snapshot.services.clone())
    }

    /// For a registry of metrics: how many services there are, and how old the snapshot is.
    #[must_use]
    pub fn gauges(self: Arc<Self>) -> impl Collector {
        gauges::RegistryGauges(self)
    }

    /// Time since the last successful reading.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.snapshot.load().read_at.elapsed()
    }
}

async fn read_within(pool: &PgPool, deadline: Duration) -> Result<Snapshot, sqlx::Error> {
    timeout(deadline, read(pool)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Reads all services. A row that does not parse admits nobody, and hides no other row.
async fn read(pool: &PgPool) -> Result<Snapshot, sqlx::Error> {
    let read_at = Instant::now();
    let rows = sqlx::query!(
        r#"-- registry.sync
        SELECT fingerprint AS "fingerprint!", service_id AS "service_id!", role AS "role!", status AS "status!",
               -- an operator may write 'infinity'; no row may stop the reading of the others
               CASE expires_at WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN 0
                    ELSE floor(extract(epoch FROM expires_at))::bigint END AS "expires_at!",
               reason_code
        FROM service_registry"#
    )
    .fetch_all(pool)
    .await?;
    let services = rows.into_iter().filter_map(|row| {
        let registration = Registration {
            name: row.service_id.parse().ok()?,
            role: row.role.parse().ok()?,
            status: match row.status.as_str() {
                "active" => Status::Active,
                "suspended" => Status::Suspended,
                "expired" => Status::Expired,
                _ => Status::Revoked,
            },
            expires_at: row.expires_at,
            reason_code: row.reason_code,
        };
        Some((row.fingerprint.parse().ok()?, registration))
    });
    Ok(Snapshot { services: Arc::new(services.collect()), read_at })
}

/// Passes hints on, for ever. Losing them costs one poll interval and nothing else.
async fn listen(pool: PgPool, hints: watch::Sender<()>, pause: Duration) {
    loop {
        let listened: Result<(), sqlx::Error> = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            loop {
                // `None`: the connection was lost and made again; something may have been missed.
                let _notification = listener.try_recv().await?;
                hints.send_replace(());
            }
        }
        .await;
        if let Err(error) = listened {
            warn!(%error, "not listening for registry changes; polling alone for now");
        }
        sleep(pause).await;
    }
}
