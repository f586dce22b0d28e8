//! Every queue: its rules, and how much it holds.

use serde::Serialize;

use super::{Fault, Queue};

/// A queue, for an operator to read.
#[derive(Debug, Serialize)]
pub struct QueueOverview {
    /// Its name.
    pub queue: String,
    /// The rules, as the table `queues` has them.
    pub rules: QueueRules,
    /// Jobs that wait, for now or for their time.
    pub ready: i64,
    /// Jobs in the hands of workers.
    pub leased: i64,
    /// Dead letters.
    pub dead: i64,
    /// How long the oldest job that may be leased has been so.
    pub oldest_ready_seconds: f64,
}

/// The rules of a queue.
#[derive(Debug, Serialize)]
pub struct QueueRules {
    max_attempts: i32,
    lease_seconds: i32,
    backoff_base_seconds: f64,
    backoff_max_seconds: f64,
    retention_seconds: f64,
    max_backlog: Option<i64>,
    paused: bool,
}

impl Queue {
    /// All queues, by name.
    pub async fn overview(&self) -> Result<Vec<QueueOverview>, Fault> {
        let read = sqlx::query!(
            r#"-- queue.overview
            SELECT q.name, q.max_attempts, q.lease_seconds, q.backoff_base_seconds, q.backoff_max_seconds,
                   extract(epoch FROM q.retention)::float8 AS "retention_seconds!", q.max_backlog, q.paused,
                   d.ready AS "ready!", d.leased AS "leased!", d.dead AS "dead!",
                   d.oldest_ready_seconds AS "oldest_ready_seconds!"
            FROM queues q JOIN queue_depths() d ON d.queue = q.name ORDER BY q.name"#,
        )
        .fetch_all(&self.jobs.pool);
        let rows = self.jobs.bounded(read).await?;
        let of_row = rows.into_iter().map(|row| QueueOverview {
            queue: row.name,
            rules: QueueRules {
                max_attempts: row.max_attempts,
                lease_seconds: row.lease_seconds,
                backoff_base_seconds: row.backoff_base_seconds,
                backoff_max_seconds: row.backoff_max_seconds,
                retention_seconds: row.retention_seconds,
                max_backlog: row.max_backlog,
                paused: row.paused,
            },
            ready: row.ready,
            leased: row.leased,
            dead: row.dead,
            oldest_ready_seconds: row.oldest_ready_seconds,
        });
        Ok(of_row.collect())
    }
}
