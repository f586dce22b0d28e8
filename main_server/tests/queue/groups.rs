//! Jobs share a row until their ways part; no job is lost, doubled or held twice by that.

use std::collections::HashSet;

use main_server::config::QueueConfig;
use shared::wire::lease::{Held, JobOutcome, JobResult, LeasedJob};
use tokio::task::JoinSet;

use crate::stack::{Stack, failed, held, messages, name, released};

fn all(outcome: JobOutcome, results: &[JobResult]) -> bool {
    results.iter().all(|result| result.outcome == outcome)
}

fn held_of(jobs: &[LeasedJob]) -> Vec<Held> {
    jobs.iter().map(held).collect()
}

#[tokio::test]
async fn messages_of_one_commit_share_rows_of_at_most_a_hundred() {
    let stack = Stack::new().await;
    stack.store_all(&messages(250)).await;
    let sizes = "SELECT string_agg(cardinality(message_ids)::text, ' ' ORDER BY origin) FROM job_groups";
    assert_eq!(stack.value(sizes).await, "100 100 50");
    stack.every_job_is_in_one_group().await;
    let jobs = stack.lease(250).await;
    assert!(all(JobOutcome::Ok, &stack.queue.complete(&held_of(&jobs)).await.unwrap()));
    assert_eq!(stack.value("SELECT count(*) FROM job_groups WHERE state = 'done'").await, "3");
    stack.end().await;
}

#[tokio::test]
async fn some_jobs_of_a_group_are_completed_some_fail_and_some_are_renewed_in_any_order() {
    let stack = Stack::new().await;
    let verbs = ["complete", "fail", "renew"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let sent = messages(12);
        stack.store_all(&sent).await;
        let jobs = stack.lease(12).await;
        assert_eq!(jobs.len(), 12);
        // every third job each; the last three are not asked about
        let of = |verb: usize| -> Vec<Held> { jobs[..9].iter().skip(verb).step_by(3).map(held).collect() };
        for verb in order {
            let asked = of(verb);
            let results = match verbs[verb] {
                "complete" => stack.queue.complete(&asked).await,
                "fail" => {
                    let failures: Vec<_> = asked.iter().map(|&job| failed(job, Some(3600), false)).collect();
                    stack.queue.fail(&failures).await
                }
                _ => stack.queue.renew(&asked, Some(7200)).await,
            };
            assert!(all(JobOutcome::Ok, &results.unwrap()), "{order:?}: {}", verbs[verb]);
        }
        for (verb, state) in ["done", "ready", "leased"].into_iter().enumerate() {
            for job in of(verb) {
                assert_eq!(stack.job_state(job.job_id).await, state, "{order:?}");
            }
        }
        let renewed = "SELECT count(*) FROM jobs WHERE lease_expires_at > now() + interval '1 h'";
        assert_eq!(stack.value(renewed).await, "3", "{order:?}: nobody else's lease is extended");
        stack.every_job_is_in_one_group().await;
        // what is left is held as before, and what is over is over
        let rest: Vec<_> = of(2).into_iter().chain(held_of(&jobs[9..])).collect();
        assert!(all(JobOutcome::Ok, &stack.queue.complete(&rest).await.unwrap()), "{order:?}");
        assert!(all(JobOutcome::LeaseLost, &stack.queue.complete(&held_of(&jobs)).await.unwrap()));
    }
    stack.end().await;
}

#[tokio::test]
async fn verbs_on_one_lease_at_the_same_moment_lose_no_job() {
    let stack = Stack::new().await;
    let sent = messages(100);
    stack.store_all(&sent).await;
    let jobs = stack.lease(100).await;
    let mut verbs = JoinSet::new();
    for part in held_of(&jobs).chunks(5) {
        let (part, queue) = (part.to_vec(), stack.queue.clone());
        verbs.spawn(async move {
            let renewed = queue.renew(&part, Some(60)).await.unwrap();
            let completed = queue.complete(&part).await.unwrap();
            all(JobOutcome::Ok, &renewed) && all(JobOutcome::Ok, &completed)
        });
    }
    assert!(verbs.join_all().await.into_iter().all(|ok| ok), "each held what it asked about");
    stack.every_job_is_in_one_group().await;
    assert_eq!(stack.value("SELECT count(*) FROM jobs WHERE state = 'done'").await, "100");
    stack.end().await;
}

#[tokio::test]
async fn a_lease_of_less_than_a_group_leaves_the_rest_in_front() {
    let stack = Stack::new().await;
    let sent = messages(10);
    stack.store_all(&sent).await;
    stack.store_all(&messages(10)).await;
    let mut order = Vec::new();
    for max in [3, 1, 4, 2] {
        let jobs = stack.lease(max).await;
        assert_eq!(jobs.len(), max as usize);
        order.extend(jobs.iter().map(|job| job.message_id));
        stack.queue.complete(&held_of(&jobs)).await.unwrap();
    }
    assert_eq!(order, sent.iter().map(|message| message.message_id).collect::<Vec<_>>());
    stack.every_job_is_in_one_group().await;
    stack.end().await;
}

#[tokio::test]
async fn a_lease_that_is_half_full_leaves_the_next_group_whole() {
    let stack = Stack::new().await;
    for count in [6, 6, 3, 6] {
        stack.store_all(&messages(count)).await;
    }
    for expected in [6, 9, 6] {
        let jobs = stack.lease(10).await;
        assert_eq!(jobs.len(), expected);
        stack.queue.complete(&held_of(&jobs)).await.unwrap();
    }
    assert_eq!(stack.value("SELECT count(*) FROM job_groups").await, "4", "none was split");
    stack.end().await;
}

#[tokio::test]
async fn two_servers_that_lease_at_once_share_no_job_and_leave_none() {
    let stack = Stack::new().await;
    let other = stack.beside(QueueConfig::default()).await;
    for _ in 0..6 {
        stack.store_all(&messages(70)).await;
    }
    let mut workers = JoinSet::new();
    for number in 0..6 {
        let queue = if number % 2 == 0 { stack.queue.clone() } else { other.queue.clone() };
        workers.spawn(async move {
            let (mut mine, worker) = (Vec::new(), name(&format!("worker-{number}")));
            // Two leases that meet skip over each other's rows, so that one empty answer says little.
            while mine.is_empty() || mine.last().is_some_and(|jobs: &Vec<LeasedJob>| !jobs.is_empty()) {
                mine.push(queue.lease(&name("default"), 11, None, &worker).await.unwrap());
            }
            mine.concat()
        });
    }
    let mut jobs = workers.join_all().await.concat();
    jobs.extend(stack.lease(420).await);
    let distinct: HashSet<_> = jobs.iter().map(|job| job.message_id).collect();
    assert_eq!((jobs.len(), distinct.len()), (420, 420));
    // whoever leased it, any server completes it
    assert!(all(JobOutcome::Ok, &other.queue.complete(&held_of(&jobs)).await.unwrap()));
    stack.every_job_is_in_one_group().await;
    other.end().await;
    stack.end().await;
}

#[tokio::test]
async fn what_is_handed_back_unworked_is_ready_at_once_and_uses_up_no_attempt() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET max_attempts = 2").await;
    let sent = messages(4);
    stack.store_all(&sent).await;
    for attempt in 1..=5 {
        let jobs = stack.lease(4).await;
        assert_eq!(jobs.len(), 4);
        // the next worker is told all the same that somebody may have delivered it
        assert!(jobs.iter().all(|job| job.attempt == attempt), "{jobs:?}");
        let back: Vec<_> = jobs.iter().map(|job| released(held(job))).collect();
        assert!(all(JobOutcome::Ok, &stack.queue.fail(&back).await.unwrap()));
    }
    assert_eq!(stack.value("SELECT count(*) FROM job_attempts").await, "0");
    assert_eq!(stack.value("SELECT count(*) FROM job_groups").await, "1");
    for then in ["ready", "dead"] {
        let jobs = stack.lease(4).await;
        let failures: Vec<_> = jobs.iter().map(|job| failed(held(job), Some(0), false)).collect();
        stack.queue.fail(&failures).await.unwrap();
        assert_eq!(stack.job_state(sent[3].message_id).await, then);
    }
    assert_eq!(stack.value("SELECT DISTINCT attempt FROM jobs").await, "7");
    stack.end().await;
}

#[tokio::test]
async fn every_failed_attempt_is_on_record_with_its_worker_and_error() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET max_attempts = 2").await;
    stack.store_all(&messages(3)).await;
    let jobs = stack.lease(3).await;
    let failures = [failed(held(&jobs[0]), Some(0), false), failed(held(&jobs[1]), None, true)];
    stack.queue.fail(&failures).await.unwrap();
    stack.queue.complete(&[held(&jobs[2])]).await.unwrap();
    let again = stack.queue.lease(&name("default"), 3, None, &name("worker-2")).await.unwrap();
    stack.queue.fail(&[failed(held(&again[0]), None, false)]).await.unwrap();
    let record = "SELECT string_agg(message_id || ' ' || attempt || ' ' || worker || ' ' || outcome, ', '
                                    ORDER BY message_id, attempt) FROM job_attempts";
    let [first, second] = [jobs[0].message_id, jobs[1].message_id];
    let told = format!("{first} 1 worker-1 failed, {first} 2 worker-2 failed, {second} 1 worker-1 refused");
    assert_eq!(stack.value(record).await, told);
    let rows: Vec<(uuid::Uuid, String, Vec<u8>)> =
        sqlx::query_as("SELECT message_id, error_key_id, error FROM job_attempts")
            .fetch_all(&stack.onlooker)
            .await
            .unwrap();
    for (message_id, key_id, error) in rows {
        assert_eq!(stack.keyring.open_error(message_id, &key_id, error).unwrap(), "no route to sink");
    }
    stack.end().await;
}
