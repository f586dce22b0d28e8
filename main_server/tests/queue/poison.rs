//! A message that kills its worker is found out by halves, dies alone, and holds nobody up.

use std::collections::HashSet;

use uuid::Uuid;

use crate::stack::{Stack, eventually, failed, held, messages};

impl Stack {
    /// Every lease that is out ends, as it does when its worker is gone, and the reaper has seen it.
    async fn leases_expire(&self) {
        self.sql("UPDATE job_groups SET lease_expires_at = now() - interval '1 s' WHERE state = 'leased'")
            .await;
        eventually(|| async { self.value("SELECT count(*) FROM jobs WHERE state = 'leased'").await == "0" })
            .await;
    }
}

#[tokio::test]
async fn a_poison_message_is_a_dead_letter_after_its_attempts_and_all_its_neighbours_are_delivered() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET max_attempts = 10").await;
    let sent = messages(100);
    stack.store_all(&sent).await;
    let poison = sent[37].message_id;
    let (mut delivered, mut killed) = (HashSet::new(), 0);
    while stack.job_state(poison).await != "dead" {
        let jobs = stack.lease(100).await;
        if jobs.iter().any(|job| job.message_id == poison) {
            killed += 1;
            stack.leases_expire().await;
        } else {
            stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
            delivered.extend(jobs.into_iter().map(|job| job.message_id));
        }
    }
    assert_eq!(killed, 10, "as often as it has attempts");
    // the halves that were still waiting when it died
    loop {
        let jobs = stack.lease(100).await;
        if jobs.is_empty() {
            break;
        }
        stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
        delivered.extend(jobs.into_iter().map(|job| job.message_id));
    }
    let all: HashSet<Uuid> =
        sent.iter().map(|message| message.message_id).filter(|id| *id != poison).collect();
    assert_eq!(delivered, all);
    assert_eq!(stack.value("SELECT dead_reason FROM jobs WHERE state = 'dead'").await, "lease_expired");
    let attempts = "SELECT count(*) FROM job_attempts WHERE outcome = 'lease_expired' AND message_id =";
    assert_eq!(stack.value(format!("{attempts} '{poison}'")).await, "10");
    stack.every_job_is_in_one_group().await;
    stack.end().await;
}

#[tokio::test]
async fn a_suspect_is_leased_alone_and_what_is_behind_it_is_leased_next() {
    let stack = Stack::new().await;
    stack.store_all(&messages(5)).await;
    stack.lease(5).await;
    stack.leases_expire().await;
    stack.store_all(&messages(3)).await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let jobs = stack.lease(100).await;
        sizes.push(jobs.len());
        stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 3, 3], "two halves, each alone, and the others together");
    stack.end().await;
}

#[tokio::test]
async fn a_lease_ends_before_a_suspect() {
    let stack = Stack::new().await;
    let suspect = messages(1);
    stack.store_all(&suspect).await;
    stack.lease(1).await;
    stack.leases_expire().await;
    let (front, behind) = (messages(2), messages(2));
    stack.store_all(&front).await;
    stack.store_all(&behind).await;
    let ids = |messages: &[shared::wire::submit::SubmittedMessage]| -> Vec<Uuid> {
        messages.iter().map(|message| message.message_id).collect()
    };
    let first = ids(&front)[0];
    stack
        .sql(format!(
            "UPDATE job_groups SET ready_at = now() - interval '1 s' WHERE '{first}' = ANY (message_ids)"
        ))
        .await;
    for expected in [ids(&front), ids(&suspect), ids(&behind)] {
        let jobs = stack.lease(100).await;
        assert_eq!(jobs.iter().map(|job| job.message_id).collect::<Vec<_>>(), expected);
        stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    }
    stack.end().await;
}

#[tokio::test]
async fn neighbours_of_a_poison_message_do_not_die_with_it_however_few_the_attempts() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET max_attempts = 1").await;
    let sent = messages(4);
    stack.store_all(&sent).await;
    let poison = sent[0].message_id;
    for _ in 0..20 {
        let jobs = stack.lease(4).await;
        if jobs.iter().any(|job| job.message_id == poison) {
            stack.leases_expire().await;
        } else {
            stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
        }
    }
    assert_eq!(
        stack.value("SELECT string_agg(state, ' ' ORDER BY state) FROM jobs").await,
        "dead done done done"
    );
    stack.end().await;
}

#[tokio::test]
async fn a_suspect_whose_worker_lives_to_fail_it_is_one_no_more() {
    let stack = Stack::new().await;
    stack.store_all(&messages(2)).await;
    stack.lease(2).await;
    stack.leases_expire().await;
    for _ in 0..2 {
        let jobs = stack.lease(2).await;
        assert_eq!(jobs.len(), 1);
        stack.queue.fail(&[failed(held(&jobs[0]), Some(3600), false)]).await.unwrap();
    }
    stack.sql("UPDATE job_groups SET ready_at = now()").await;
    let mut jobs = Vec::new();
    eventually(|| async { stack.value("SELECT count(*) FROM job_groups WHERE suspect").await == "0" }).await;
    jobs.extend(stack.lease(2).await);
    assert_eq!(jobs.len(), 2);
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.end().await;
}
