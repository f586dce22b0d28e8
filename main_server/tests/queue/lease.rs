//! Leasing: each job to one worker at a time, oldest first, and nobody waits for nothing.

use std::collections::HashSet;

use main_server::queue::Fault;
use shared::wire::lease::JobOutcome;
use tokio::{task::JoinSet, time::timeout};

use crate::stack::{PATIENCE, Stack, eventually, failed, held, message, messages, name, released};

#[tokio::test]
async fn a_leased_job_carries_the_message_and_its_verified_principal() {
    let stack = Stack::new().await;
    let mut sent = message("client_001", "hello, world");
    sent.metadata = Some(serde_json::from_str(r#"{"a":[1,2.50]}"#).unwrap());
    sent.routing_key = Some("eu".to_owned());
    sent.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    stack.store(&sent).await;
    let leased = stack.lease(10).await;
    let [job] = leased.as_slice() else { panic!("one job: {leased:?}") };
    assert_eq!((job.message_id, &job.client_id), (sent.message_id, &sent.client_id));
    assert_eq!((job.cert_fingerprint, job.proxy.as_str()), (sent.cert_fingerprint, "proxy-1"));
    assert_eq!((job.request_id, &job.traceparent), (sent.request_id, &sent.traceparent));
    assert_eq!((&job.sender_number, &job.message_body), (&sent.sender_number, &sent.message_body));
    assert_eq!(job.metadata.as_ref().map(|raw| raw.get()), Some(r#"{"a":[1,2.50]}"#));
    assert_eq!((job.attempt, &job.routing_key, job.queue.as_str()), (1, &sent.routing_key, "default"));
    assert_eq!(stack.queue.complete(&[held(job)]).await.unwrap()[0].outcome, JobOutcome::Ok);
    assert_eq!(stack.job_state(sent.message_id).await, "done");
    stack.end().await;
}

#[tokio::test]
async fn no_job_is_leased_to_two_workers() {
    let stack = Stack::new().await;
    let batch: Vec<_> = (0..200).map(|number| message("client_001", &number.to_string())).collect();
    stack.store_all(&batch).await;
    let mut workers = JoinSet::new();
    for number in 0..8 {
        let queue = stack.queue.clone();
        workers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let worker = name(&format!("worker-{number}"));
                let jobs = queue.lease(&name("default"), 7, None, &worker).await.unwrap();
                if jobs.is_empty() {
                    return mine;
                }
                mine.extend(jobs);
            }
        });
    }
    let all: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<_> = all.iter().map(|job| job.message_id).collect();
    assert_eq!((all.len(), distinct.len()), (200, 200));
    let all: Vec<_> = all.iter().map(held).collect();
    let completed = stack.queue.complete(&all).await.unwrap();
    assert!(completed.iter().all(|result| result.outcome == JobOutcome::Ok));
    stack.end().await;
}

#[tokio::test]
async fn a_waiting_worker_is_woken_by_a_commit_by_a_failure_and_by_the_reaper() {
    let stack = Stack::new().await;
    let default = name("default");
    let waiting = stack.queue.wait_for_jobs(&default);
    stack.store(&message("client_001", "hello")).await;
    timeout(PATIENCE, waiting).await.expect("woken by the commit");

    let job = stack.lease(2).await.remove(0);
    let waiting = stack.queue.wait_for_jobs(&default);
    let failed = shared::wire::fail::FailedJob {
        job_id: job.job_id,
        lease_token: job.lease_token,
        error: "later".to_owned(),
        delay_seconds: Some(0),
        dead: false,
        released: false,
    };
    stack.queue.fail(&[failed]).await.unwrap();
    timeout(PATIENCE, waiting).await.expect("woken by the failure");

    let job = stack.lease(2).await.remove(0);
    let waiting = stack.queue.wait_for_jobs(&default);
    stack.sql("UPDATE job_groups SET lease_expires_at = now() - interval '1 s'").await;
    timeout(PATIENCE, waiting).await.expect("woken by the reaper");
    assert_eq!(job.attempt, 2);
    let job = stack.lease(1).await.remove(0);
    assert_eq!(job.attempt, 3);
    stack.queue.complete(&[held(&job)]).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn a_full_lease_wakes_the_next_worker() {
    let stack = Stack::new().await;
    let default = name("default");
    stack.store_all(&[message("client_001", "one"), message("client_001", "two")]).await;
    // takes the wake-up of the commit
    timeout(PATIENCE, stack.queue.wait_for_jobs(&default)).await.expect("woken");
    let first = stack.lease(1).await;
    timeout(PATIENCE, stack.queue.wait_for_jobs(&default)).await.expect("there is more");
    let second = stack.lease(2).await;
    let all: Vec<_> = first.iter().chain(&second).map(held).collect();
    assert_eq!(stack.queue.complete(&all).await.unwrap().len(), 2);
    stack.end().await;
}

#[tokio::test]
async fn a_paused_queue_takes_messages_and_leases_none() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET paused = true").await;
    stack.store(&message("client_001", "hello")).await;
    assert!(stack.lease(1).await.is_empty());
    stack.sql("UPDATE queues SET paused = false").await;
    let jobs = stack.lease(1).await;
    assert_eq!(jobs.len(), 1);
    stack.queue.complete(&[held(&jobs[0])]).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named() {
    let stack = Stack::new().await;
    let refused = stack.queue.lease(&name("defualt"), 1, None, &name("worker-1")).await;
    assert!(
        matches!(&refused, Err(Fault::UnknownQueue(queue)) if queue.as_str() == "defualt"),
        "{refused:?}"
    );
    stack.end().await;
}

#[tokio::test]
async fn a_job_whose_leases_all_expired_is_dead_after_its_attempts() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET max_attempts = 2").await;
    let sent = message("client_001", "a message that kills its worker");
    stack.store(&sent).await;
    for (attempt, then) in [(1, "ready"), (2, "dead")] {
        let jobs = stack.lease(1).await;
        assert_eq!(jobs[0].attempt, attempt);
        stack
            .sql("UPDATE job_groups SET lease_expires_at = now() - interval '1 s' WHERE state = 'leased'")
            .await;
        eventually(|| async { stack.job_state(sent.message_id).await == then }).await;
    }
    assert_eq!(stack.value("SELECT dead_reason FROM jobs").await, "lease_expired");
    stack.end().await;
}

#[tokio::test]
async fn a_delivered_job_is_counted_under_the_attempts_that_counted() {
    let stack = Stack::new().await;
    stack.store_all(&messages(3)).await;
    let jobs = stack.lease(10).await;
    // one at once; one after it was handed back unworked; one after it failed
    stack.queue.complete(&[held(&jobs[0])]).await.unwrap();
    stack.queue.fail(&[released(held(&jobs[1])), failed(held(&jobs[2]), Some(0), false)]).await.unwrap();
    let again = stack.lease(10).await;
    assert_eq!(again.iter().map(|job| job.attempt).collect::<Vec<_>>(), [2, 2]);
    stack.queue.complete(&again.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    for (at_most, expected) in [("1.0", 2), ("2.0", 3), ("+Inf", 3)] {
        let bucket = format!("portcullis_queue_attempts_bucket{{le=\"{at_most}\"}}");
        assert_eq!(stack.counted(&bucket), expected, "{at_most}");
    }
    stack.end().await;
}
