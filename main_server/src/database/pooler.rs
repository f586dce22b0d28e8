//! Refuses a pooler that gives a session's statements to whichever connection is free (`PgBouncer` in transaction or
//! statement mode).
//!
//! Behind one, a 202 is as durable as the server's default, because `synchronous_commit` of a session reaches somebody
//! else's; and statements that are prepared under one name in two sessions are taken for each other.

use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio::time::timeout;

/// Which connection of the server answers. Unprepared: that works behind every pooler.
const WHO: &str = "SELECT pg_backend_pid()";

/// Two sessions side by side, each of which must keep its own connection of the server: `first` lets go of it, if it may,
/// the second one takes a connection and keeps it, and then `first` asks again.
pub(super) async fn refuse(
    first: &mut PgConnection,
    options: &PgConnectOptions,
    patience: Duration,
) -> anyhow::Result<()> {
    let looked = timeout(patience, async {
        let before = backend(first).await?;
        let mut second = options.connect().await?;
        sqlx::raw_sql("BEGIN").execute(&mut second).await?;
        let beside = backend(&mut second).await?;
        let after = backend(first).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut second).await?;
        second.close().await?;
        Ok::<_, sqlx::Error>(before == after && before != beside)
    });
    let text = "whether the database is behind a pooler could not be found out: two connections are needed";
    if looked.await.context(text)?.context(text)? {
        return Ok(());
    }
    bail!(
        "the database is behind a pooler in transaction or statement mode, so that an acknowledged message could be \
         lost: connect to Postgres itself, or use session pooling (database.url)"
    )
}

async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql(WHO).fetch_one(connection).await?.try_get(0)
}
