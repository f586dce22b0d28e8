//! ready → leased: a worker takes jobs for a time.

use shared::{identity::Name, wire::lease::LeasedJob};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::seal::{Keyring, Unreadable};

/// A job that was just leased, its message still sealed.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) message_id: Uuid,
    /// When its group became ready; the first one's is the oldest.
    pub(super) ready_at: OffsetDateTime,
    /// The lease ended before everything ready was looked at.
    pub(super) more: bool,
    lease_expires_at: OffsetDateTime,
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

/// What a worker asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) queue: &'a Name,
    pub(super) max: u32,
    pub(super) lease_seconds: Option<u32>,
    pub(super) worker: &'a Name,
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

/// Leases up to `max` jobs, oldest first, all under one token, by the database's clock alone. Rows that another
/// lease is taking at this moment are skipped, never waited for. Nothing that became ready before `floor` is
/// looked at.
pub(super) async fn lease(
    pool: &PgPool,
    asked: &Asked<'_>,
    token: Uuid,
    floor: Option<OffsetDateTime>,
) -> Result<Vec<Leased>, sqlx::Error> {
    sqlx::query_as!(
        Leased,
        r#"-- queue.lease
        SELECT message_id AS "message_id!", ready_at AS "ready_at!", more AS "more!", attempt AS "attempt!",
               lease_expires_at AS "lease_expires_at!", client_id AS "client_id!",
               cert_fingerprint AS "cert_fingerprint!", proxy AS "proxy!", request_id AS "request_id!",
               traceparent, routing_key, queued_at AS "queued_at!", key_id AS "key_id!", sealed AS "sealed!"
        FROM queue_lease($1, $2, $3, $4, $5, $6)"#,
        asked.queue.as_str(),
        i32::try_from(asked.max).unwrap_or(i32::MAX),
        asked.lease_seconds.map(f64::from),
        asked.worker.as_str(),
        token,
        floor,
    )
    .fetch_all(pool)
    .await
}

impl Leased {
    /// Opens the message, for the worker to read.
    pub(super) fn open(
        self,
        keyring: &Keyring,
        queue: &Name,
        lease_token: Uuid,
    ) -> Result<LeasedJob, NotHandedOut> {
        let payload = keyring.open_message(self.message_id, &self.client_id, &self.key_id, self.sealed)?;
        Ok(LeasedJob {
            job_id: self.message_id,
            lease_token,
            lease_expires_at: self.lease_expires_at,
            queue: queue.clone(),
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
