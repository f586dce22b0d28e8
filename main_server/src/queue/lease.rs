//! ready → leased: a worker takes jobs for a time.

use shared::{identity::Name, wire::lease::LeasedJob};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::seal::{Keyring, Unreadable};

/// A job that was just leased, its message still sealed.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) job_id: Uuid,
    pub(super) message_id: Uuid,
    lease_expires_at: OffsetDateTime,
    queue: String,
    attempt: i32,
    client_id: String,
    cert_fingerprint: String,
    proxy: String,
    request_id: Uuid,
    traceparent: Option<String>,
    routing_key: Option<String>,
    queued_at: OffsetDateTime,
    key_id: String,
    sealed: Vec<u8>,
}

/// Why a leased job cannot be handed out.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHandedOut {
    #[error("message {0}")]
    Unreadable(#[from] Unreadable),
    #[error("column {0} holds what no message of ours can")]
    Column(&'static str),
}

impl NotHandedOut {
    /// Whether trying again cannot help. A missing key can be put back.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Unreadable(Unreadable::UnknownKey(_)))
    }
}

/// Leases up to `max` jobs, oldest first, all under one token, by the database's clock alone. Rows that
/// another lease is taking at this moment are skipped, never waited for.
pub(super) async fn lease(
    pool: &PgPool,
    queue: &Name,
    max: u32,
    lease_seconds: Option<u32>,
    worker: &Name,
    token: Uuid,
) -> Result<Vec<Leased>, sqlx::Error> {
    sqlx::query_as!(
        Leased,
        r#"-- queue.lease
        WITH picked AS (
            SELECT job_id FROM jobs
            WHERE queue = $1 AND state = 'ready' AND ready_at <= now()
              AND EXISTS (SELECT FROM queues WHERE name = $1 AND NOT paused)
            ORDER BY ready_at, job_id
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        ), leased AS (
            UPDATE jobs
            SET state = 'leased', attempt = attempt + 1, lease_token = $3, leased_by = $4,
                lease_expires_at = now() + make_interval(secs =>
                    coalesce($5::double precision, (SELECT lease_seconds FROM queues WHERE name = $1)))
            FROM picked WHERE jobs.job_id = picked.job_id
            RETURNING jobs.job_id, message_id, queue, attempt, lease_expires_at, ready_at
        )
        SELECT l.job_id AS "job_id!", l.message_id AS "message_id!", l.lease_expires_at AS "lease_expires_at!",
               l.queue AS "queue!", l.attempt AS "attempt!",
               m.client_id AS "client_id!", m.cert_fingerprint AS "cert_fingerprint!", m.proxy AS "proxy!",
               m.request_id AS "request_id!", m.traceparent AS "traceparent?", m.routing_key AS "routing_key?",
               m.queued_at AS "queued_at!", m.key_id AS "key_id!", m.sealed AS "sealed!"
        FROM leased l JOIN messages m USING (message_id)
        ORDER BY l.ready_at, l.job_id"#,
        queue.as_str(),
        i64::from(max),
        token,
        worker.as_str(),
        lease_seconds.map(f64::from),
    )
    .fetch_all(pool)
    .await
}

impl Leased {
    /// Opens the message, for the worker to read.
    pub(super) fn open(self, keyring: &Keyring, lease_token: Uuid) -> Result<LeasedJob, NotHandedOut> {
        let payload = keyring.open_message(self.message_id, &self.client_id, &self.key_id, self.sealed)?;
        Ok(LeasedJob {
            job_id: self.job_id,
            lease_token,
            lease_expires_at: self.lease_expires_at,
            queue: self.queue.parse().map_err(|_| NotHandedOut::Column("queue"))?,
            attempt: self.attempt.try_into().map_err(|_| NotHandedOut::Column("attempt"))?,
            message_id: self.message_id,
            client_id: self.client_id.parse().map_err(|_| NotHandedOut::Column("client_id"))?,
            cert_fingerprint: self
                .cert_fingerprint
                .parse()
                .map_err(|_| NotHandedOut::Column("cert_fingerprint"))?,
            proxy: self.proxy.parse().map_err(|_| NotHandedOut::Column("proxy"))?,
            request_id: self.request_id,
            traceparent: self.traceparent,
            sender_number: payload.sender_number,
            message_body: payload.message_body,
            metadata: payload.metadata,
            routing_key: self.routing_key,
            queued_at: self.queued_at,
        })
    }
}
