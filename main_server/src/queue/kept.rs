//! A connection that one task keeps between its statements.
//!
//! Why: a pool asks a connection whether it lives each time it comes back, a round trip for every commit. Out: a
//! connection that answered lately. One that saw an error is not kept: it goes back to the pool, which tests it.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgPool, Postgres, pool::PoolConnection};

/// After so long without a statement it is asked first.
const UNTESTED: Duration = Duration::from_secs(1);

/// See above.
#[derive(Debug)]
pub(super) struct Kept {
    pool: PgPool,
    connection: Option<(PoolConnection<Postgres>, Instant)>,
}

impl Kept {
    /// Nothing is kept yet.
    pub(super) fn of(pool: PgPool) -> Self {
        Self { pool, connection: None }
    }

    /// The one that is kept, or another. Give it back with [`Self::keep`] if the statement succeeded.
    pub(super) async fn take(&mut self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        if let Some((mut connection, used_at)) = self.connection.take()
            && (used_at.elapsed() < UNTESTED || connection.ping().await.is_ok())
        {
            return Ok(connection);
        }
        self.pool.acquire().await
    }

    /// For the next statement.
    pub(super) fn keep(&mut self, connection: PoolConnection<Postgres>) {
        self.connection = Some((connection, Instant::now()));
    }
}
