//! Idempotency keys in the store: one message each, whoever sends it at once, in whatever order.

use std::collections::HashMap;

use main_server::config::QueueConfig;
use shared::wire::{
    Code,
    submit::{
        IdempotencyKey,
        SubmitOutcome::{Conflict, Queued, Rejected, Replayed},
        SubmitResult, SubmittedMessage,
    },
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stack::{Stack, eventually, message, name, prepare};

/// A message under a key of `client_001`.
fn keyed(key: &str, body: &str) -> SubmittedMessage {
    let key = IdempotencyKey { key: key.to_owned(), index: None, batch: None };
    SubmittedMessage { idempotency_key: Some(key), ..message("client_001", body) }
}

/// The same, as its client sends it again: under another id.
fn sent_again(message: &SubmittedMessage) -> SubmittedMessage {
    SubmittedMessage { message_id: Uuid::now_v7(), ..message.clone() }
}

async fn submit(stack: &Stack, messages: &[SubmittedMessage]) -> Vec<SubmitResult> {
    stack.queue.submit(name("proxy-1"), messages.to_vec(), 1).await.unwrap()
}

#[tokio::test]
async fn an_idempotency_key_twice_in_one_commit_is_stored_once() {
    let stack = Stack::new().await;
    let first = keyed("k", "one");
    let batch = [first.clone(), sent_again(&first), keyed("k", "two"), keyed("l", "one"), first.clone()];
    let results = submit(&stack, &batch).await;
    let outcomes: Vec<_> = results.iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [Queued, Replayed, Conflict, Queued, Replayed]);
    let originals: Vec<_> = results.iter().map(|result| result.original).collect();
    // what a proxy itself sends again is no replay to its client
    assert_eq!(originals, [None, Some(first.message_id), None, None, None]);
    assert_eq!(
        (results[1].queued_at, results[2].code),
        (results[0].queued_at, Some(Code::IdempotencyConflict))
    );
    assert!(results.iter().zip(&batch).all(|(result, sent)| result.message_id == sent.message_id));
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, "2");
    stack.end().await;
}

#[tokio::test]
async fn an_idempotency_key_a_thousand_times_in_one_commit_costs_one_insert() {
    let stack = Stack::new().await;
    stack
        .sql(
            "CREATE SEQUENCE inserts;
             CREATE FUNCTION count_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
                 AS $$ BEGIN PERFORM nextval('public.inserts'); RETURN NULL; END $$;
             CREATE TRIGGER count_insert AFTER INSERT ON messages EXECUTE FUNCTION count_insert();",
        )
        .await;
    let first = keyed("k", "one");
    let batch: Vec<_> = (0..1000).map(|_| sent_again(&first)).collect();
    let results = submit(&stack, &batch).await;
    assert_eq!(results[0].outcome, Queued);
    assert!(results[1..].iter().all(|result| result.outcome == Replayed));
    assert!(results[1..].iter().all(|result| result.original == Some(batch[0].message_id)));
    assert_eq!(stack.value("SELECT last_value FROM inserts").await, "1");
    stack.end().await;
}

#[tokio::test]
async fn the_same_idempotency_keys_at_once_in_many_orders_are_stored_once() {
    // none of the writers takes another one's batch along
    let stack = Stack::with(|config| (config.writers, config.commit_messages) = (4, 300)).await;
    let keys: Vec<_> = (0..300).map(|number| keyed(&format!("k{number}"), "hello")).collect();
    // all writers begin at the same moment
    let mut gate = stack.onlooker.begin().await.unwrap();
    sqlx::query("LOCK TABLE idempotency_keys IN SHARE MODE").execute(&mut *gate).await.unwrap();
    let mut senders = JoinSet::new();
    for shift in 0..16 {
        // ids are sorted before the insert: they must not have the order of the keys
        let mut batch = keys.clone();
        batch.rotate_left(shift * 3);
        if shift % 2 == 1 {
            batch.reverse();
        }
        let (queue, batch) = (stack.queue.clone(), batch.iter().map(sent_again).collect::<Vec<_>>());
        let of_ids: HashMap<_, _> =
            batch.iter().map(|sent| (sent.message_id, sent.idempotency_key.clone().unwrap().key)).collect();
        senders.spawn(async move { (of_ids, queue.submit(name("proxy-1"), batch, 1).await) });
    }
    eventually(|| async { stack.inserts_that_wait().await == "4" }).await;
    gate.rollback().await.unwrap();
    let (mut stored, mut answered) = (HashMap::new(), Vec::new());
    for (of_ids, answer) in senders.join_all().await {
        for result in answer.unwrap() {
            let key = of_ids[&result.message_id].clone();
            if result.outcome == Queued {
                assert!(stored.insert(key, result.message_id).is_none(), "stored twice");
            } else {
                answered.push((key, result));
            }
        }
    }
    assert_eq!((stored.len(), answered.len()), (300, 15 * 300));
    for (key, result) in answered {
        assert_eq!((result.outcome, result.original), (Replayed, Some(stored[&key])));
    }
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, "300");
    stack.end().await;
}

#[tokio::test]
async fn a_message_that_is_not_stored_leaves_its_idempotency_key_free() {
    let stack = Stack::new().await;
    let trigger = "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
                       $$ BEGIN RAISE EXCEPTION 'this row is poison'; END $$;
                   CREATE TRIGGER poison BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION poison();";
    stack.sql(trigger).await;
    let message = keyed("k", "one");
    assert_eq!(stack.outcomes(std::slice::from_ref(&message)).await, [Rejected]);
    assert_eq!(stack.value("SELECT count(*) FROM idempotency_keys").await, "0");
    stack.sql("DROP TRIGGER poison ON messages").await;
    assert_eq!(stack.outcomes(&[sent_again(&message)]).await, [Queued]);
    stack.end().await;
}

#[tokio::test]
async fn an_id_that_is_taken_claims_no_idempotency_key() {
    let stack = Stack::new().await;
    let others = message("client_002", "theirs");
    stack.store(&others).await;
    let mut mine = keyed("k", "mine");
    mine.message_id = others.message_id;
    assert_eq!(stack.outcomes(&[mine]).await, [Conflict]);
    assert_eq!(stack.outcomes(&[keyed("k", "mine")]).await, [Queued]);
    stack.end().await;
}

#[tokio::test]
async fn an_idempotency_key_is_not_readable_in_the_database() {
    let stack = Stack::new().await;
    stack.store(&keyed("+1234567890", "hello")).await;
    let row = stack.value("SELECT k::text || encode(key_hash, 'escape') FROM idempotency_keys k").await;
    assert!(row.contains("client_001") && !row.contains("1234567890"), "{row}");
    stack.end().await;
}

#[tokio::test]
async fn idempotency_keys_older_than_a_day_are_forgotten() {
    let url = private_postgres::fresh_database(prepare).unwrap();
    let keys = "INSERT INTO idempotency_keys (client_id, key_hash, fingerprint, message_id, queued_at)
                SELECT 'client_001', sha256(i::text::bytea), sha256('x'), gen_random_uuid(),
                       now() - CASE WHEN i <= 2500 THEN interval '26 hours' ELSE interval '24 hours' END
                FROM generate_series(1, 2600) AS i";
    private_postgres::psql(&url, keys).unwrap();
    let stack = Stack::on(&url, QueueConfig::default()).await;
    eventually(|| async { stack.value("SELECT count(*) FROM idempotency_keys").await == "100" }).await;
    stack.end().await;
}
