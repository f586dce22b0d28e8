//! The pool of Postgres connections, and what each of them must promise before it is used.
//!
//! In: `[database]`. Out: connections that commit durably and give up in time. Refused: a cluster that
//! could lose an acknowledged message (`fsync` or `full_page_writes` off), a pooler that mixes sessions, a schema
//! older than this binary.

mod migrate;
mod pooler;
mod pool_metrics;

use std::{borrow::Cow, str::FromStr as _, time::Duration};

use anyhow::Context as _;
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, sleep};
use tracing::warn;

pub use migrate::migrate;
pub use pool_metrics::PoolMetrics;

use crate::config::DatabaseConfig;

/// How long to wait between two attempts to reach the database at start.
const START_RETRY: Duration = Duration::from_millis(200);

/// A connection that was idle for longer is asked whether it still lives before it is used.
const UNTESTED: Duration = Duration::from_secs(1);

/// Connections of the registry: one reads services, one listens, one reads revocation lists, which may be large,
/// one writes the proxies' reports, one the refusals of our own doors.
const REGISTRY_CONNECTIONS: u32 = 5;

/// The cluster could lose what it acknowledged.
#[derive(Debug, thiserror::Error)]
#[error(
    "the Postgres cluster runs with {setting} = off, so an acknowledged message could be lost: set {setting} = on"
)]
pub struct UnsafeCluster {
    setting: &'static str,
}

/// Connections for two purposes: a queue that is busy must not keep a revocation from being seen.
#[derive(Debug, Clone)]
pub struct Database {
    /// For the queue.
    pub queue: PgPool,
    /// For the registry: one that reads, one that listens, one for revocation lists, one for reports,
    /// one for refusals.
    pub registry: PgPool,
}

/// Connects, waiting a bounded time for the database to come up, and checks cluster and schema.
pub async fn open(config: &DatabaseConfig) -> anyhow::Result<Database> {
    let options = PgConnectOptions::from_str(config.url.expose())
        .context("database.url")?
        .application_name("portcullis-server");
    let mut first = connect(&options, config.start_timeout.0).await?;
    pooler::refuse(&mut first, &options, config.start_timeout.0).await?;
    prepare(&mut first, config.statement_timeout.0).await?;
    migrate::check_applied(&mut first).await?;
    first.close().await.context("the database closed the first connection")?;
    let pool = |connections| pool(&options, config, connections);
    Ok(Database { queue: pool(config.max_connections), registry: pool(REGISTRY_CONNECTIONS) })
}

/// The SQLSTATE of an error, if the database sent it.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}

fn pool(options: &PgConnectOptions, config: &DatabaseConfig, connections: u32) -> PgPool {
    let statement_timeout = config.statement_timeout.0;
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(config.acquire_timeout.0)
        .idle_timeout(config.idle_timeout.0)
        .max_lifetime(config.max_lifetime.0)
        // a question before each statement would double the round trips of a busy pool
        .test_before_acquire(false)
        .before_acquire(|connection, state| {
            Box::pin(async move { Ok(state.idle_for < UNTESTED || connection.ping().await.is_ok()) })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let prepared = prepare(connection, statement_timeout).await;
                prepared.map_err(|error| sqlx::Error::Configuration(error.into()))
            })
        })
        .connect_lazy_with(options.clone())
}

/// A connection, as soon as the database gives one.
async fn connect(options: &PgConnectOptions, patience: Duration) -> anyhow::Result<PgConnection> {
    let deadline = Instant::now() + patience;
    loop {
        let error = match tokio::time::timeout_at(deadline, options.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        // A refused role or a missing database does not get better by waiting.
        let hopeless = sqlstate(&error).is_some_and(|code| code.starts_with("28") || code.starts_with("3D"));
        if hopeless || Instant::now() + START_RETRY >= deadline {
            return Err(error).context("cannot connect to the database (database.url)");
        }
        warn!(%error, "the database does not answer yet");
        sleep(START_RETRY).await;
    }
}

/// What every connection is told, and asked, before it is used: also after a restart of the cluster, whose
/// settings may have changed meanwhile.
async fn prepare(connection: &mut PgConnection, statement_timeout: Duration) -> anyhow::Result<()> {
    let millis = i64::try_from(statement_timeout.as_millis()).unwrap_or(i64::MAX);
    let settings = sqlx::query!(
        r#"-- database.prepare
        SELECT set_config('synchronous_commit', 'on', false) AS "synchronous_commit!",
               set_config('statement_timeout', $1, false) AS "statement_timeout!",
               set_config('lock_timeout', $1, false) AS "lock_timeout!",
               set_config('idle_in_transaction_session_timeout', $1, false) AS "idle_timeout!",
               -- lists of other lengths, and a backlog that grows, need other plans than the first one
               set_config('plan_cache_mode', 'force_custom_plan', false) AS "plan_cache_mode!",
               current_setting('fsync')::boolean AS "fsync!",
               current_setting('full_page_writes')::boolean AS "full_page_writes!""#,
        millis.to_string(),
    )
    .fetch_one(connection)
    .await?;
    if !settings.fsync {
        return Err(UnsafeCluster { setting: "fsync" }.into());
    }
    if !settings.full_page_writes {
        return Err(UnsafeCluster { setting: "full_page_writes" }.into());
    }
    Ok(())
}
