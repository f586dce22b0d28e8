//! Submission: stored once, recognised when repeated, refused alone when it cannot be stored.

use main_server::queue::Fault;
use shared::wire::{
    Code,
    submit::SubmitOutcome::{Conflict, Queued, Rejected, Replayed},
};
use tokio::task::JoinSet;

use crate::stack::{Stack, eventually, message, messages, name};

#[tokio::test]
async fn a_batch_sent_again_is_replayed_and_adds_nothing() {
    let stack = Stack::new().await;
    let batch = [message("client_001", "one"), message("client_002", "two")];
    let first = stack.queue.submit(name("proxy-1"), batch.to_vec(), 1).await.unwrap();
    // Through another proxy, and in another order: still the same messages.
    let again: Vec<_> = batch.iter().rev().cloned().collect();
    let second = stack.queue.submit(name("proxy-2"), again, 1).await.unwrap();
    assert!(first.iter().all(|result| result.outcome == Queued), "{first:?}");
    assert!(second.iter().all(|result| result.outcome == Replayed), "{second:?}");
    assert_eq!(second[0].message_id, batch[1].message_id);
    assert_eq!(second[1].queued_at, first[0].queued_at);
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, "2");
    assert_eq!(stack.value("SELECT count(*) FROM jobs").await, "2");
    stack.end().await;
}

#[tokio::test]
async fn an_id_with_another_principal_or_payload_is_a_conflict() {
    let stack = Stack::new().await;
    let original = message("client_001", "one");
    stack.store(&original).await;
    let mut other_client = original.clone();
    other_client.client_id = name("client_002");
    let mut other_body = original.clone();
    other_body.message_body = "two".to_owned();
    let mut other_number = original.clone();
    other_number.sender_number = "+1234567891".to_owned();
    let batch = vec![other_client, other_body, other_number, original];
    let results = stack.queue.submit(name("proxy-1"), batch, 1).await.unwrap();
    let outcomes: Vec<_> = results.iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [Conflict, Conflict, Conflict, Replayed]);
    assert_eq!(results[0].code, Some(Code::IdempotencyConflict));
    assert_eq!(results[0].queued_at, None);
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, "1");
    stack.end().await;
}

#[tokio::test]
async fn one_id_three_times_in_one_batch_is_stored_once() {
    let stack = Stack::new().await;
    let first = message("client_001", "one");
    let mut other = first.clone();
    other.message_body = "two".to_owned();
    let batch = [first.clone(), first.clone(), other, message("client_001", "three")];
    assert_eq!(stack.outcomes(&batch).await, [Queued, Replayed, Conflict, Queued]);
    stack.end().await;
}

#[tokio::test]
async fn messages_beside_one_that_is_there_are_stored() {
    let stack = Stack::new().await;
    let batch = messages(150);
    stack.store(&batch[120]).await;
    let outcomes = stack.outcomes(&batch).await;
    assert!((0..150).all(|index| outcomes[index] == if index == 120 { Replayed } else { Queued }));
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, "150");
    stack.every_job_is_in_one_group().await;
    stack.end().await;
}

#[tokio::test]
async fn ids_are_looked_for_only_after_one_was_there() {
    let stack = Stack::new().await;
    let functions = "SELECT string_agg(oid::regprocedure::text, ', ') FROM pg_proc WHERE proname =";
    let deny = async |name: &str| {
        let function = stack.value(format!("{functions} '{name}'")).await;
        stack.sql(format!("REVOKE EXECUTE ON FUNCTION {function} FROM portcullis_server")).await;
        function
    };
    let looking = deny("queue_insert").await;
    let first = messages(101);
    stack.store_all(&first).await;
    stack.sql(format!("GRANT EXECUTE ON FUNCTION {looking} TO portcullis_server")).await;
    assert_eq!(stack.outcomes(&first[..1]).await, [Replayed]);
    deny("queue_insert_first").await;
    stack.store_all(&messages(101)).await;
    stack.every_job_is_in_one_group().await;
    stack.end().await;
}

#[tokio::test]
async fn the_same_batch_sent_at_once_by_many_is_stored_once() {
    let stack = Stack::with(|config| config.writers = 4).await;
    let batch: Vec<_> = (0..50).map(|number| message("client_001", &format!("{number}"))).collect();
    let mut senders = JoinSet::new();
    for shift in 0..16 {
        let (queue, mut batch) = (stack.queue.clone(), batch.clone());
        batch.rotate_left(shift * 3);
        senders.spawn(async move { queue.submit(name("proxy-1"), batch, 1).await });
    }
    let answers = senders.join_all().await;
    let outcomes = answers.iter().flat_map(|answer| answer.as_ref().unwrap());
    let queued = outcomes.clone().filter(|result| result.outcome == Queued).count();
    let replayed = outcomes.filter(|result| result.outcome == Replayed).count();
    assert_eq!((queued, replayed), (50, 15 * 50));
    assert_eq!(stack.value("SELECT count(*) FROM jobs").await, "50");
    stack.end().await;
}

#[tokio::test]
async fn a_poisonous_item_among_a_hundred_clients_is_refused_alone() {
    let stack = Stack::new().await;
    let trigger = "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
                       $$ BEGIN RAISE EXCEPTION 'this row is poison'; END $$;
                   CREATE TRIGGER poison BEFORE INSERT ON messages FOR EACH ROW
                       WHEN (NEW.client_id = 'client_042') EXECUTE FUNCTION poison();";
    stack.sql(trigger).await;
    let batch: Vec<_> = (0..100).map(|number| message(&format!("client_{number:03}"), "hello")).collect();
    let outcomes = stack.outcomes(&batch).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(*outcome, if number == 42 { Rejected } else { Queued }, "{number}");
    }
    assert_eq!(stack.value("SELECT count(*) FROM jobs").await, "99");
    stack.end().await;
}

#[tokio::test]
async fn what_postgres_cannot_hold_is_rejected_as_an_invalid_field() {
    let stack = Stack::new().await;
    let mut nul = message("client_001", "one");
    nul.routing_key = Some("a\0b".to_owned());
    let mut long = message("client_001", "two");
    long.routing_key = Some("x".repeat(256));
    let batch = vec![nul, message("client_001", "three"), long];
    let results = stack.queue.submit(name("proxy-1"), batch, 1).await.unwrap();
    let outcomes: Vec<_> = results.iter().map(|result| (result.outcome, result.code)).collect();
    let rejected = (Rejected, Some(Code::InvalidField));
    assert_eq!(outcomes, [rejected, (Queued, None), rejected]);
    stack.end().await;
}

#[tokio::test]
async fn batches_beyond_the_bound_are_refused_while_the_others_wait() {
    let stack = Stack::with(|config| (config.writers, config.waiting_batches) = (1, 1)).await;
    let mut lock = stack.onlooker.begin().await.unwrap();
    sqlx::query("LOCK TABLE messages").execute(&mut *lock).await.unwrap();
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let (queue, message) = (stack.queue.clone(), message("client_001", "hello"));
        senders.spawn(async move { queue.submit(name("proxy-1"), vec![message], 1).await });
    }
    // One is with the writer, one waits in the channel: at least six are turned away.
    let mut refused = 0;
    while refused < 6 {
        let answer = senders.join_next().await.unwrap().unwrap();
        assert!(matches!(answer, Err(Fault::Overloaded)), "{answer:?}");
        refused += 1;
    }
    eventually(|| async { stack.inserts_that_wait().await == "1" }).await;
    lock.rollback().await.unwrap();
    let mut stored = 0;
    while let Some(answer) = senders.join_next().await {
        match answer.unwrap() {
            Ok(results) => stored += usize::from(results[0].outcome == Queued),
            Err(Fault::Overloaded) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(stored + refused, 8);
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, stored.to_string());
    stack.end().await;
}
