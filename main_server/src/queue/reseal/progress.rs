//! How far a rotation is, for `rotate-keys --status`, and what still needs a key, for `--retire`.

use sqlx::PgConnection;
use time::OffsetDateTime;

/// What a key still seals, counted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Messages.
    pub messages: i64,
    /// Errors of failed attempts.
    pub errors: i64,
}

/// A main server's key ring, as it reported it.
#[derive(Debug)]
pub struct RingOfServer {
    /// Its name.
    pub server: String,
    /// What it seals under.
    pub current_key: String,
    /// What it can open.
    pub key_ids: Vec<String>,
    /// How long ago, in seconds.
    pub age_seconds: f64,
}

/// The last walk.
#[derive(Debug)]
pub struct WalkProgress {
    /// It seals under this key.
    pub key_id: String,
    /// When it came to its end.
    pub ended_at: Option<OffsetDateTime>,
    /// Messages up to this id are done.
    pub after: uuid::Uuid,
}

/// Counts what is sealed under a key: reads all messages, and takes its time.
pub async fn key_use(connection: &mut PgConnection, key_id: &str) -> Result<KeyUse, sqlx::Error> {
    sqlx::query_as!(
        KeyUse,
        r#"-- queue.key_use
        SELECT (SELECT count(*) FROM messages WHERE key_id = $1) AS "messages!",
               (SELECT count(*) FROM job_attempts WHERE error_key_id = $1) AS "errors!""#,
        key_id,
    )
    .fetch_one(connection)
    .await
}

/// The rings of the servers that were heard of lately.
pub async fn rings_of_servers(connection: &mut PgConnection) -> Result<Vec<RingOfServer>, sqlx::Error> {
    sqlx::query_as!(
        RingOfServer,
        r#"-- queue.key_rings
        SELECT server, current_key, key_ids, extract(epoch FROM now() - seen_at)::float8 AS "age_seconds!"
        FROM key_rings ORDER BY server"#,
    )
    .fetch_all(connection)
    .await
}

/// The last walk; `None` if there never was one.
pub async fn walk_progress(connection: &mut PgConnection) -> Result<Option<WalkProgress>, sqlx::Error> {
    sqlx::query_as!(
        WalkProgress,
        r#"-- queue.walk_progress
        SELECT key_id AS "key_id!", ended_at, after FROM reseal_walk WHERE key_id IS NOT NULL"#,
    )
    .fetch_optional(connection)
    .await
}
