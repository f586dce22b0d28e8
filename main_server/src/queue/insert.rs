//! (nothing) → ready: messages and the groups of their jobs, in one statement and one commit.

use std::{collections::HashMap, iter};

use shared::{identity::Name, wire::submit::SubmittedMessage};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{DEFAULT_QUEUE, idempotency::KeyOf};
use crate::seal::{SealedKey, SealedMessage};

/// Jobs of one group, at most; the table has the same bound.
const GROUP_JOBS: usize = 100;

/// A message on its way into the table.
#[derive(Debug)]
pub(super) struct NewMessage {
    pub(super) message: SubmittedMessage,
    pub(super) proxy: Name,
    pub(super) sealed: SealedMessage,
    pub(super) key: Option<SealedKey>,
    /// Which submission it came with, and where in it.
    pub(super) place: (usize, usize),
}

impl NewMessage {
    /// Its client and the hash of its idempotency key, if it has one.
    pub(super) fn key_of(&self) -> Option<KeyOf> {
        let key = self.key.as_ref()?;
        Some((self.message.client_id.to_string(), key.key_hash.to_vec()))
    }
}

/// The columns of a batch, as Postgres takes them.
#[derive(Default)]
struct Columns {
    message_ids: Vec<Uuid>,
    origins: Vec<Uuid>,
    client_ids: Vec<String>,
    fingerprints: Vec<String>,
    proxies: Vec<String>,
    request_ids: Vec<Uuid>,
    traceparents: Vec<Option<String>>,
    routing_keys: Vec<Option<String>>,
    key_ids: Vec<String>,
    sealed: Vec<Vec<u8>>,
    sender_indexes: Vec<Vec<u8>>,
    payload_hashes: Vec<Vec<u8>>,
    key_hashes: Vec<Option<Vec<u8>>>,
    key_fingerprints: Vec<Option<Vec<u8>>>,
}

/// Stores the messages whose ids and idempotency keys are new, with a ready job each, and says when; none while the cluster could lose a
/// commit. `messages` must be sorted by id and hold each id and each key once: two statements that insert the
/// same ones in different orders would deadlock.
pub(super) async fn insert(
    pool: &PgPool,
    messages: &[NewMessage],
) -> Result<HashMap<Uuid, OffsetDateTime>, sqlx::Error> {
    let columns = Columns::of(messages);
    let stored = sqlx::query!(
        r#"-- queue.insert
        WITH input AS (
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[],
                                 $7::text[], $8::text[], $9::text[], $10::bytea[], $11::bytea[], $12::bytea[],
                                 $14::bytea[], $15::bytea[])
                AS m (message_id, origin, client_id, cert_fingerprint, proxy, request_id,
                      traceparent, routing_key, key_id, sealed, sender_index, payload_hash, key_hash, fingerprint)
        ), claimed AS (
            INSERT INTO idempotency_keys AS k (client_id, key_hash, fingerprint, message_id)
            SELECT client_id, key_hash, fingerprint, message_id
            FROM input
            WHERE key_hash IS NOT NULL
              AND current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean
              -- a message that a proxy sends again claims nothing: its key stands for it already
              AND (SELECT true FROM messages m WHERE m.message_id = input.message_id) IS NULL
            -- like the ids: in one order everywhere
            ORDER BY client_id, key_hash
            -- waits for whoever is storing under this key at this moment
            ON CONFLICT (client_id, key_hash) DO UPDATE
                SET fingerprint = excluded.fingerprint, message_id = excluded.message_id,
                    queued_at = excluded.queued_at
                -- its day is over: it counts as absent, though it was not deleted yet
                WHERE k.queued_at <= now() - interval '24 hours'
            RETURNING message_id
        ), stored AS (
            INSERT INTO messages (message_id, origin, client_id, cert_fingerprint, proxy, request_id,
                                  traceparent, routing_key, key_id, sealed, sender_index, payload_hash)
            SELECT message_id, origin, client_id, cert_fingerprint, proxy, request_id,
                   traceparent, routing_key, key_id, sealed, sender_index, payload_hash
            FROM input
            -- a reload may have turned them off since this connection was checked: then store nothing
            WHERE current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean
              -- all keys before the first message, whatever the plan: locks in one order
              AND (SELECT count(*) FROM claimed) >= 0
              AND (key_hash IS NULL OR message_id IN (SELECT message_id FROM claimed))
            ON CONFLICT (message_id) DO NOTHING
            RETURNING message_id, origin, queued_at
        ), queued AS (
            INSERT INTO job_groups (origin, queue, message_ids, ready_at)
            SELECT origin, $13, array_agg(message_id ORDER BY message_id), min(queued_at)
            FROM stored GROUP BY origin
        )
        SELECT message_id AS "message_id!", queued_at AS "queued_at!" FROM stored"#,
        &columns.message_ids,
        &columns.origins,
        &columns.client_ids,
        &columns.fingerprints,
        &columns.proxies,
        &columns.request_ids,
        &columns.traceparents as &[Option<String>],
        &columns.routing_keys as &[Option<String>],
        &columns.key_ids,
        &columns.sealed,
        &columns.sender_indexes,
        &columns.payload_hashes,
        DEFAULT_QUEUE,
        &columns.key_hashes as &[Option<Vec<u8>>],
        &columns.key_fingerprints as &[Option<Vec<u8>>],
    )
    .fetch_all(pool)
    .await?;
    Ok(stored.into_iter().map(|row| (row.message_id, row.queued_at)).collect())
}

impl Columns {
    fn of(messages: &[NewMessage]) -> Self {
        let mut columns = Self::default();
        let origins =
            messages.chunks(GROUP_JOBS).flat_map(|chunk| iter::repeat_n(Uuid::now_v7(), chunk.len()));
        for (NewMessage { message, proxy, sealed, key, .. }, origin) in messages.iter().zip(origins) {
            columns.message_ids.push(message.message_id);
            columns.origins.push(origin);
            columns.client_ids.push(message.client_id.to_string());
            columns.fingerprints.push(message.cert_fingerprint.to_string());
            columns.proxies.push(proxy.to_string());
            columns.request_ids.push(message.request_id);
            columns.traceparents.push(message.traceparent.clone());
            columns.routing_keys.push(message.routing_key.clone());
            columns.key_ids.push(sealed.key_id.to_string());
            columns.sealed.push(sealed.sealed.clone());
            columns.sender_indexes.push(sealed.sender_index.to_vec());
            columns.payload_hashes.push(sealed.payload_hash.to_vec());
            columns.key_hashes.push(key.as_ref().map(|key| key.key_hash.to_vec()));
            columns.key_fingerprints.push(key.as_ref().map(|key| key.fingerprint.to_vec()));
        }
        columns
    }
}
