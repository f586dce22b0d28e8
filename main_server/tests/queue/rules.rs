//! What an operator sets in `queues` holds at once.

use main_server::queue::Fault;
use shared::{
    config::Span,
    wire::{
        Code,
        submit::SubmitOutcome::{Queued, Rejected, Replayed},
    },
};

use crate::stack::{Stack, eventually, failed, held, message, messages};

impl Stack {
    async fn purging() -> Self {
        Self::with(|config| config.purge_every = Span::millis(20)).await
    }
}

#[tokio::test]
async fn what_is_finished_goes_after_its_queues_retention_and_dead_letters_stay() {
    let stack = Stack::purging().await;
    stack.store_all(&messages(6)).await;
    let jobs = stack.lease(6).await;
    let done: Vec<_> = jobs[..3].iter().map(held).collect();
    stack.queue.complete(&done).await.unwrap();
    let failures = [failed(held(&jobs[3]), None, true), failed(held(&jobs[4]), None, true)];
    stack.queue.fail(&failures).await.unwrap();
    stack.queue.fail(&[failed(held(&jobs[5]), Some(3600), false)]).await.unwrap();
    stack.sql(format!("SELECT discard('{}')", jobs[4].job_id)).await;
    // within the retention of 7 days everything stays; with the clock put forward, what is finished goes
    stack.sql("UPDATE queues SET retention = interval '0'").await;
    eventually(|| async { stack.value("SELECT count(*) FROM messages").await == "2" }).await;
    let left = "SELECT string_agg(state, ' ' ORDER BY state) FROM jobs";
    assert_eq!(stack.value(left).await, "dead ready");
    let records =
        "SELECT count(*) FROM job_attempts WHERE message_id NOT IN (SELECT message_id FROM messages)";
    assert_eq!(stack.value(records).await, "0");
    assert_eq!(stack.value("SELECT count(*) FROM job_attempts").await, "2");
    stack.every_job_is_in_one_group().await;
    stack.end().await;
}

#[tokio::test]
async fn a_message_stays_until_its_last_queue_is_done_with_it() {
    let stack = Stack::purging().await;
    stack.store_all(&messages(2)).await;
    stack.sql("INSERT INTO queues (name) VALUES ('audit')").await;
    stack
        .sql("INSERT INTO job_groups (origin, queue, message_ids) SELECT origin, 'audit', message_ids FROM job_groups")
        .await;
    let jobs = stack.lease(2).await;
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.sql("UPDATE queues SET retention = interval '0'").await;
    eventually(|| async {
        stack.value("SELECT count(*) FROM job_groups WHERE queue = 'default'").await == "0"
    })
    .await;
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, "2");
    let audit =
        stack.queue.lease(&"audit".parse().unwrap(), 2, None, &"worker-1".parse().unwrap()).await.unwrap();
    assert_eq!(audit.len(), 2);
    stack.queue.complete(&audit.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    eventually(|| async { stack.value("SELECT count(*) FROM messages").await == "0" }).await;
    stack.end().await;
}

#[tokio::test]
async fn a_full_queue_takes_no_new_message_and_recognises_what_it_has() {
    let stack = Stack::new().await;
    let stored = messages(3);
    stack.store_all(&stored).await;
    stack.sql("UPDATE queues SET max_backlog = 3").await;
    let refused = message("client_001", "one too many");
    let batch = [stored[0].clone(), refused.clone()];
    let answer = || async { stack.queue.submit("proxy-1".parse().unwrap(), batch.to_vec(), 1).await };
    // another one each time, so that none that was stored before the bound was seen is recognised
    eventually(|| async { stack.outcomes(&[message("client_001", "full?")]).await == [Rejected] }).await;
    let results = answer().await.unwrap();
    assert_eq!((results[0].outcome, results[0].code), (Replayed, None));
    assert_eq!((results[1].outcome, results[1].code), (Rejected, Some(Code::BacklogExceeded)));
    let jobs = stack.lease(100).await;
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    eventually(|| async { stack.outcomes(std::slice::from_ref(&refused)).await == [Queued] }).await;
    stack.sql("UPDATE queues SET max_backlog = NULL").await;
    eventually(|| async {
        let more = messages(5);
        stack.outcomes(&more).await == [Queued; 5]
    })
    .await;
    stack.end().await;
}

#[tokio::test]
async fn a_bound_is_kept_between_two_counts_too() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET max_backlog = 50").await;
    let mut stored = 0;
    // the first count has been made once something is refused
    eventually(|| async { stack.outcomes(&messages(10)).await == [Rejected; 10] }).await;
    stored += stack.value("SELECT count(*) FROM messages").await.parse::<u32>().unwrap();
    assert!(stored >= 50, "{stored}");
    stack.end().await;
}

#[tokio::test]
async fn a_lease_time_and_a_number_of_attempts_hold_from_the_next_statement_on() {
    let stack = Stack::new().await;
    stack.store_all(&messages(1)).await;
    stack.sql("UPDATE queues SET lease_seconds = 3600, max_attempts = 1").await;
    let jobs = stack.lease(1).await;
    let long = "SELECT lease_expires_at > now() + interval '50 min' FROM jobs";
    assert_eq!(stack.value(long).await, "true");
    stack.queue.fail(&[failed(held(&jobs[0]), Some(0), false)]).await.unwrap();
    assert_eq!(stack.value("SELECT dead_reason FROM jobs").await, "attempts_exhausted");
    let missing = stack.queue.lease(&"missing".parse().unwrap(), 1, None, &"worker-1".parse().unwrap()).await;
    assert!(matches!(missing, Err(Fault::UnknownQueue(_))));
    stack.end().await;
}
