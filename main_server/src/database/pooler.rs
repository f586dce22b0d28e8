//! Refuses a pooler that gives a session's statements to whichever connection is free (`PgBouncer` in transaction or
//! statement mode).
//!
//! Behind one, a 202 is as durable as the server's default, because `synchronous_commit` of a session reaches somebody
//! else's; and statements that are prepared under one name in two sessions are taken for each other.

use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio::time::{Instant, timeout_at};

/// Which connection of the server answers. Unprepared: that works behind every pooler.
const WHO: &str = "SELECT pg_backend_pid()";

/// How often it is looked. One look can be lucky: a pooler whose other clients are busy may give a session the same
/// connection twice. Fewer than the connections that a main server uses later.
const ROUNDS: usize = 8;

/// Sessions side by side, each of which must keep its own connection of the server.
pub(super) async fn refuse(
    first: &mut PgConnection,
    options: &PgConnectOptions,
    patience: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    let looked = timeout_at(deadline, keep_their_own(first, options, deadline));
    let text = "whether the database is behind a pooler could not be found out: nine connections are needed";
    if looked.await.context(text)?.context(text)? {
        return Ok(());
    }
    bail!(
        "the database is behind a pooler in transaction or statement mode, so that an acknowledged message could be \
         lost: connect to Postgres itself, or use session pooling (database.url)"
    )
}

/// In each round `first` lets go of its connection, if it may, another session takes one and keeps it in a
/// transaction, and then `first` asks again. Those of earlier rounds stay: so there are ever fewer that are free.
async fn keep_their_own(
    first: &mut PgConnection,
    options: &PgConnectOptions,
    deadline: Instant,
) -> anyhow::Result<bool> {
    let own = backend(first).await?;
    let mut others = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let patience = deadline.saturating_duration_since(Instant::now());
        let mut other = super::connect(options, patience).await?;
        sqlx::raw_sql("BEGIN").execute(&mut other).await?;
        if backend(&mut other).await? == own || backend(first).await? != own {
            return Ok(false);
        }
        others.push(other);
    }
    for mut other in others {
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;
    }
    Ok(true)
}

async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql(WHO).fetch_one(connection).await?.try_get(0)
}
