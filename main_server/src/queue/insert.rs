//! (nothing) → ready: messages and the groups of their jobs, in one statement and one commit.
//!
//! Nearly all messages come for the first time, and looking for their ids costs more than it finds: the statement takes all
//! for new and fails if one is there. Then, and for a while after, and where messages have idempotency keys, it is one that looks.

use std::{collections::HashMap, iter};

use shared::{identity::Name, wire::submit::SubmittedMessage};
use sqlx::{PgConnection, error::DatabaseError};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{DEFAULT_QUEUE, idempotency::KeyOf};
use crate::seal::{SealedKey, SealedMessage};

/// Jobs of one group, at most; the table has the same bound, and `queue_insert_first` cuts there.
const GROUP_JOBS: usize = 100;
/// In so many statements after one that failed, ids are looked for at once: a proxy that sends again has more to send again,
/// and what fails was written in vain. Under load that is a few seconds.
const CAREFUL: u32 = 1000;
/// Which breach says that an id is there.
const IDS: &str = "messages_pkey";

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
struct Columns<'a> {
    message_ids: Vec<Uuid>,
    origins: Vec<Uuid>,
    client_ids: Vec<&'a str>,
    fingerprints: Vec<String>,
    proxies: Vec<&'a str>,
    request_ids: Vec<Uuid>,
    traceparents: Vec<Option<&'a str>>,
    routing_keys: Vec<Option<&'a str>>,
    key_ids: Vec<&'a str>,
    sealed: Vec<&'a [u8]>,
    sender_indexes: Vec<&'a [u8]>,
    payload_hashes: Vec<&'a [u8]>,
    /// Only if a message has a key; most batches have none.
    key_hashes: Option<Vec<Option<&'a [u8]>>>,
    key_fingerprints: Option<Vec<Option<&'a [u8]>>>,
}

/// One writer's way of inserting.
#[derive(Debug, Default)]
pub(super) struct Inserts {
    /// Statements that are yet to look for ids.
    careful: u32,
}

impl Inserts {
    /// Stores the messages whose ids and idempotency keys are new, with a ready job each, and says of each when, in their order;
    /// none while the cluster could lose a commit. `messages` must be sorted by id and hold each id and each key once: two
    /// statements that insert the same ones in different orders would deadlock.
    pub(super) async fn insert(
        &mut self,
        connection: &mut PgConnection,
        messages: &[NewMessage],
    ) -> Result<Vec<Option<OffsetDateTime>>, sqlx::Error> {
        let columns = Columns::of(messages);
        if columns.key_hashes.is_none() && !self.looks() {
            match insert_first(connection, &columns).await {
                Err(error) if id_is_taken(&error) => self.careful = CAREFUL,
                stored => return Ok(vec![stored?; messages.len()]),
            }
        }
        let stored = insert_new(connection, &columns).await?;
        Ok(messages.iter().map(|new| stored.get(&new.message.message_id).copied()).collect())
    }

    /// Whether the next statement looks for ids at once.
    fn looks(&mut self) -> bool {
        let looks = self.careful > 0;
        self.careful = self.careful.saturating_sub(1);
        looks
    }
}

/// Stores all and says when; `None`, and none, while the cluster could lose a commit; an error, and none, if an id is there.
async fn insert_first(
    connection: &mut PgConnection,
    columns: &Columns<'_>,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- queue.insert_first
        SELECT queue_insert_first($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"#,
        DEFAULT_QUEUE,
        &columns.message_ids,
        &columns.origins,
        &columns.client_ids as &[&str],
        &columns.fingerprints,
        &columns.proxies as &[&str],
        &columns.request_ids,
        &columns.traceparents as &[Option<&str>],
        &columns.routing_keys as &[Option<&str>],
        &columns.key_ids as &[&str],
        &columns.sealed as &[&[u8]],
        &columns.sender_indexes as &[&[u8]],
        &columns.payload_hashes as &[&[u8]],
    )
    .fetch_one(connection)
    .await
}

/// Stores those that are new, and says which.
async fn insert_new(
    connection: &mut PgConnection,
    columns: &Columns<'_>,
) -> Result<HashMap<Uuid, OffsetDateTime>, sqlx::Error> {
    let stored = sqlx::query!(
        r#"-- queue.insert
        SELECT message_id AS "message_id!", queued_at AS "queued_at!"
        FROM queue_insert($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"#,
        DEFAULT_QUEUE,
        &columns.message_ids,
        &columns.origins,
        &columns.client_ids as &[&str],
        &columns.fingerprints,
        &columns.proxies as &[&str],
        &columns.request_ids,
        &columns.traceparents as &[Option<&str>],
        &columns.routing_keys as &[Option<&str>],
        &columns.key_ids as &[&str],
        &columns.sealed as &[&[u8]],
        &columns.sender_indexes as &[&[u8]],
        &columns.payload_hashes as &[&[u8]],
        columns.key_hashes.as_deref() as Option<&[Option<&[u8]>]>,
        columns.key_fingerprints.as_deref() as Option<&[Option<&[u8]>]>,
    )
    .fetch_all(connection)
    .await?;
    Ok(stored.into_iter().map(|row| (row.message_id, row.queued_at)).collect())
}

/// Whether nothing was stored since an id is there; any other breach is about a message's data.
fn id_is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::constraint) == Some(IDS)
}

impl<'a> Columns<'a> {
    fn of(messages: &'a [NewMessage]) -> Self {
        let mut columns = Self::default();
        let origins =
            messages.chunks(GROUP_JOBS).flat_map(|chunk| iter::repeat_n(Uuid::now_v7(), chunk.len()));
        for (NewMessage { message, proxy, sealed, .. }, origin) in messages.iter().zip(origins) {
            columns.message_ids.push(message.message_id);
            columns.origins.push(origin);
            columns.client_ids.push(message.client_id.as_str());
            columns.fingerprints.push(message.cert_fingerprint.to_string());
            columns.proxies.push(proxy.as_str());
            columns.request_ids.push(message.request_id);
            columns.traceparents.push(message.traceparent.as_deref());
            columns.routing_keys.push(message.routing_key.as_deref());
            columns.key_ids.push(sealed.key_id.as_str());
            columns.sealed.push(&sealed.sealed);
            columns.sender_indexes.push(&sealed.sender_index);
            columns.payload_hashes.push(&sealed.payload_hash);
        }
        if messages.iter().any(|message| message.key.is_some()) {
            let keys = messages.iter().map(|message| message.key.as_ref());
            columns.key_hashes = Some(keys.clone().map(|key| Some(key?.key_hash.as_slice())).collect());
            columns.key_fingerprints = Some(keys.map(|key| Some(key?.fingerprint.as_slice())).collect());
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_id_that_was_there_a_number_of_statements_look_and_no_more() {
        let mut inserts = Inserts::default();
        assert!(!inserts.looks());
        inserts.careful = 2;
        assert_eq!([(); 4].map(|()| inserts.looks()), [true, true, false, false]);
    }
}
