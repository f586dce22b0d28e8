//! Idempotency keys: which message a key stands for, and forgetting it after a day.
//!
//! A key is claimed where its message is stored ([`super::insert`]). Here is what is done when it was taken.

use std::{collections::HashMap, time::Duration};

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::sleep;
use tracing::{debug, warn};
use uuid::Uuid;

use super::{Jobs, insert::NewMessage};

/// Between two rounds of forgetting.
const EVERY: Duration = Duration::from_mins(1);
/// Keys deleted by one statement.
const BATCH: i64 = 1000;

/// A client and the hash of its key.
pub(super) type KeyOf = (String, Vec<u8>);

/// What a key stands for.
#[derive(Debug)]
pub(super) struct Holder {
    fingerprint: Vec<u8>,
    pub(super) message_id: Uuid,
    pub(super) queued_at: OffsetDateTime,
}

impl Holder {
    /// What was sent under the key is the same.
    pub(super) fn is_same_as(&self, new: &NewMessage) -> bool {
        new.key.as_ref().is_some_and(|key| self.fingerprint == key.fingerprint)
    }
}

/// The messages that these keys stand for. A statement of its own, after the insert: what another writer
/// committed meanwhile is visible only to a new snapshot.
pub(super) async fn holders(pool: &PgPool, keys: &[KeyOf]) -> Result<HashMap<KeyOf, Holder>, sqlx::Error> {
    let (clients, hashes): (Vec<_>, Vec<_>) = keys.iter().cloned().unzip();
    let rows = sqlx::query!(
        r#"-- queue.holders
        SELECT k.client_id, k.key_hash, k.fingerprint, k.message_id, k.queued_at
        FROM idempotency_keys k
        JOIN unnest($1::text[], $2::bytea[]) AS asked (client_id, key_hash) USING (client_id, key_hash)"#,
        &clients,
        &hashes,
    )
    .fetch_all(pool)
    .await?;
    let holders = rows.into_iter().map(|row| {
        let (fingerprint, message_id, queued_at) = (row.fingerprint, row.message_id, row.queued_at);
        ((row.client_id, row.key_hash), Holder { fingerprint, message_id, queued_at })
    });
    Ok(holders.collect())
}

/// Forgets old keys until the soft stop. Several main servers may: each skips what another one is deleting.
pub(super) fn start(jobs: Jobs, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("queue.forget", async move {
        while !stop.is_requested() {
            tokio::select! {
                () = jobs.forget() => {}
                () = stop.requested() => break,
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                () = stop.requested() => break,
            }
        }
    });
}

impl Jobs {
    /// One round: batch after batch, until none is old enough.
    async fn forget(&self) {
        // Where the last batch ended: before it are dead entries only, which need not be walked over again.
        let mut after = OffsetDateTime::UNIX_EPOCH;
        let mut forgotten = 0;
        loop {
            match self.bounded(forget(&self.pool, after, BATCH)).await {
                Ok((count, Some(last))) => {
                    forgotten += count;
                    after = last;
                    if count < BATCH {
                        break;
                    }
                }
                Ok((_, None)) => break,
                Err(error) => {
                    warn!(%error, "cannot forget old idempotency keys; trying again");
                    break;
                }
            }
        }
        debug!(forgotten, "idempotency keys older than a day");
    }
}

/// Deletes up to so many keys whose day has long been over, oldest first; how many, and when the last was queued.
async fn forget(
    pool: &PgPool,
    after: OffsetDateTime,
    most: i64,
) -> Result<(i64, Option<OffsetDateTime>), sqlx::Error> {
    let row = sqlx::query!(
        r#"-- queue.forget
        WITH old AS (
            SELECT client_id, key_hash
            FROM idempotency_keys
            -- an hour more than they count: a statement that saw one counting must find it afterwards too
            WHERE queued_at >= $1 AND queued_at < now() - interval '25 hours'
            ORDER BY queued_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM idempotency_keys k USING old
            WHERE k.client_id = old.client_id AND k.key_hash = old.key_hash
            RETURNING k.queued_at
        )
        SELECT count(*) AS "count!", max(queued_at) AS last FROM gone"#,
        after,
        most,
    )
    .fetch_one(pool)
    .await?;
    Ok((row.count, row.last))
}
