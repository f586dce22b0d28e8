//! A connection that one task keeps between its statements.
//!
//! Why: a pool asks a connection whether it lives each time it comes back, a round trip for every commit. Out: a
//! connection that answered a moment ago. One whose last statement failed is not kept, nor one that had nothing to do or that the
//! pool would have closed for its age: it goes back to the pool, which knows what to do with it.

use std::time::{Duration, Instant};

use sqlx::{PgPool, Postgres, pool::PoolConnection};

/// After so long without a statement it goes back to the pool.
const IDLE: Duration = Duration::from_secs(1);

/// See above.
#[derive(Debug)]
pub(super) struct Kept {
    pool: PgPool,
    connection: Option<Lent>,
}

/// A connection, until when it may be kept, and when it was used last.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) connection: PoolConnection<Postgres>,
    until: Instant,
    used_at: Instant,
}

impl Kept {
    /// Nothing is kept yet.
    pub(super) fn of(pool: PgPool) -> Self {
        Self { pool, connection: None }
    }

    /// The one that is kept, or another. Give it back with [`Self::keep`] if the statement succeeded.
    pub(super) async fn take(&mut self) -> Result<Lent, sqlx::Error> {
        let now = Instant::now();
        let kept = self.connection.take();
        if let Some(used) = kept.filter(|used| now - used.used_at < IDLE && now < used.until) {
            return Ok(used);
        }
        let connection = self.pool.acquire().await?;
        let longest = self.pool.options().get_max_lifetime().unwrap_or(Duration::from_hours(1));
        Ok(Lent { connection, until: now + longest, used_at: now })
    }

    /// For the next statement.
    pub(super) fn keep(&mut self, used: Lent) {
        self.connection = Some(Lent { used_at: Instant::now(), ..used });
    }
}
