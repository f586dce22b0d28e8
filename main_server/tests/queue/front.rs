//! The floor of leases jumps over what is dead, and hides nothing that is ready.

use main_server::config::QueueConfig;
use shared::wire::lease::LeasedJob;

use crate::stack::{Stack, eventually, failed, held, message, messages, name};

impl Stack {
    /// Leases until it has one job, and completes it.
    async fn eventually_delivers(&self, message_id: uuid::Uuid) {
        eventually(|| async {
            let jobs: Vec<LeasedJob> = self.lease(100).await;
            self.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
            jobs.iter().any(|job| job.message_id == message_id)
        })
        .await;
    }

    /// The floor is where the newest job is: an older one that comes now is below it.
    async fn raise_the_floor(&self) {
        let newest = message("client_001", "newest");
        self.store(&newest).await;
        self.eventually_delivers(newest.message_id).await;
    }

    /// As another process would store it: ready long ago, by a transaction that took that long.
    async fn store_late(&self, age: &str) -> uuid::Uuid {
        let late = message("client_001", "late");
        self.store(&late).await;
        let id = late.message_id;
        self.sql(format!(
            "UPDATE job_groups SET ready_at = now() - interval '{age}' WHERE '{id}' = ANY (message_ids)"
        ))
        .await;
        id
    }
}

#[tokio::test]
async fn a_job_committed_long_after_it_became_ready_is_leased_all_the_same() {
    let stack = Stack::new().await;
    stack.raise_the_floor().await;
    let late = stack.store_late("1 h").await;
    stack.eventually_delivers(late).await;
    stack.end().await;
}

#[tokio::test]
async fn a_job_stored_by_one_server_is_leased_by_another() {
    let stack = Stack::new().await;
    let other = stack.beside(QueueConfig::default()).await;
    other.raise_the_floor().await;
    let late = stack.store_late("10 s").await;
    other.eventually_delivers(late).await;
    let soon = message("client_001", "soon");
    stack.store(&soon).await;
    other.eventually_delivers(soon.message_id).await;
    other.end().await;
    stack.end().await;
}

#[tokio::test]
async fn what_this_server_makes_ready_again_is_leased_at_once() {
    let stack = Stack::new().await;
    stack.raise_the_floor().await;
    stack.store_all(&messages(3)).await;
    for attempt in 1..4 {
        let jobs = stack.lease(3).await;
        assert!(jobs.len() == 3 && jobs.iter().all(|job| job.attempt == attempt), "{jobs:?}");
        let failures: Vec<_> = jobs.iter().map(|job| failed(held(job), Some(0), false)).collect();
        stack.queue.fail(&failures).await.unwrap();
    }
    let jobs = stack.lease(3).await;
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn a_redriven_job_is_leased() {
    let stack = Stack::new().await;
    let sent = message("client_001", "hello");
    stack.store(&sent).await;
    let job = stack.lease(1).await.remove(0);
    stack.queue.fail(&[failed(held(&job), None, true)]).await.unwrap();
    stack.raise_the_floor().await;
    assert_eq!(stack.value(format!("SELECT redrive('{}')", sent.message_id)).await, "1");
    stack.eventually_delivers(sent.message_id).await;
    stack.end().await;
}

#[tokio::test]
async fn the_view_of_jobs_finds_one_by_its_message_without_reading_the_backlog() {
    let stack = Stack::new().await;
    stack.store_all(&messages(2000)).await;
    stack.sql("ANALYZE messages; ANALYZE job_groups").await;
    let one = stack.value("SELECT message_id FROM messages LIMIT 1").await;
    let explain =
        format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT text) SELECT * FROM jobs WHERE message_id = '{one}'");
    let plan: Vec<(String,)> =
        sqlx::query_as(sqlx::AssertSqlSafe(explain)).fetch_all(&stack.onlooker).await.unwrap();
    let plan: Vec<_> = plan.into_iter().map(|(line,)| line).collect();
    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{plan:#?}");
    assert!(plan[0].contains("rows=1 "), "{plan:#?}");
    let jobs = stack.queue.lease(&name("default"), 2000, None, &name("worker-1")).await.unwrap();
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.end().await;
}
