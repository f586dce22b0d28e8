//! The queue's one door: durable submission, and the leases on jobs.
//!
//! In: verified messages from proxies, verbs from workers. Out: per-item results, committed before they are
//! answered. Refused: more than the store takes on, and whatever a lost or expired lease asks for.
//! All SQL on `queues`, `messages` and `jobs` is below here: one transition, one statement, one file.
//!
//! ```text
//! submit ─▶ store (group commit) ─▶ insert, compare
//! lease ─▶ lease ─▶ open │ fail        renew, complete, fail: fenced by job, token and state
//!                        reap: leases that nobody renewed
//! ```

mod store;
mod insert;
mod compare;
mod lease;
mod renew;
mod complete;
mod fail;
mod reap;
mod rules;
mod wakeup;
mod fault;
mod metrics;

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use shared::{
    identity::Name,
    shutdown::Shutdown,
    wire::{
        fail::FailedJob,
        lease::{Held, JobOutcome, JobResult, LeasedJob},
        submit::{SubmitResult, SubmittedMessage},
    },
};
use sqlx::PgPool;
use tokio::time::timeout;
use tracing::error;
use uuid::Uuid;

pub use fault::Fault;
pub use metrics::QueueMetrics;

use self::{fail::Failure, store::Store, wakeup::Wakeups};
use crate::{config::QueueConfig, seal::Keyring};

/// The queue every message goes to until there are routes.
pub const DEFAULT_QUEUE: &str = "default";

/// The queue. One per process; shared by its doors.
#[derive(Debug)]
pub struct Queue {
    store: Store,
    jobs: Jobs,
}

/// What the verbs on jobs need.
#[derive(Debug, Clone)]
struct Jobs {
    pool: PgPool,
    keyring: Arc<Keyring>,
    wakeups: Arc<Wakeups>,
    metrics: QueueMetrics,
    /// Longer than any statement may take: a database that hangs is a database that is lost.
    deadline: Duration,
}

impl Queue {
    /// Opens the queue: its writers and its reaper run until `shutdown`.
    #[must_use]
    pub fn open(
        pool: PgPool,
        keyring: Arc<Keyring>,
        config: &QueueConfig,
        deadline: Duration,
        metrics: QueueMetrics,
        shutdown: &Shutdown,
    ) -> Self {
        let jobs = Jobs { pool, keyring, wakeups: Arc::new(Wakeups::default()), metrics, deadline };
        let store = store::open(jobs.clone(), config, shutdown);
        reap::start(jobs.clone(), config, shutdown);
        Self { store, jobs }
    }

    /// Stores a batch that `proxy` verified; returns after the commit, with one result per message in order.
    /// `bytes` is its size on the wire. On a fault nothing is known about any of them: send them again.
    pub async fn submit(
        &self,
        proxy: Name,
        messages: Vec<SubmittedMessage>,
        bytes: usize,
    ) -> Result<Vec<SubmitResult>, Fault> {
        self.store.submit(proxy, messages, bytes).await
    }

    /// Leases up to `max` jobs to `worker`, at once or not at all. A job whose message cannot be opened
    /// fails here, alone.
    pub async fn lease(
        &self,
        queue: &Name,
        max: u32,
        lease_seconds: Option<u32>,
        worker: &Name,
    ) -> Result<Vec<LeasedJob>, Fault> {
        let jobs = &self.jobs;
        let token = Uuid::new_v4();
        let leased = jobs.bounded(lease::lease(&jobs.pool, queue, max, lease_seconds, worker, token)).await?;
        if leased.is_empty() && !jobs.bounded(rules::queue_exists(&jobs.pool, queue)).await? {
            return Err(Fault::UnknownQueue(queue.clone()));
        }
        if leased.len() == max as usize {
            // There may be more than this worker takes.
            jobs.wakeups.wake(queue.as_str());
        }
        jobs.open_messages(leased, token).await
    }

    /// Waits until a job may have become ready in `queue`. A hint, and it may be missed: poll behind it.
    pub fn wait_for_jobs(&self, queue: &Name) -> impl Future<Output = ()> + Send + 'static {
        let waiting = self.jobs.wakeups.of(queue.as_str());
        async move { waiting.notified().await }
    }

    /// Extends leases, counted from now.
    pub async fn renew(&self, held: &[Held], lease_seconds: Option<u32>) -> Result<Vec<JobResult>, Fault> {
        let jobs = &self.jobs;
        let renewed = jobs.bounded(renew::renew(&jobs.pool, held, lease_seconds)).await?;
        Ok(results(held.iter().copied(), &renewed, |outcome| jobs.metrics.renewed(outcome)))
    }

    /// Marks delivered jobs as done.
    pub async fn complete(&self, held: &[Held]) -> Result<Vec<JobResult>, Fault> {
        let jobs = &self.jobs;
        let completed = jobs.bounded(complete::complete(&jobs.pool, held)).await?;
        Ok(results(held.iter().copied(), &completed, |outcome| jobs.metrics.completed(outcome)))
    }

    /// Hands back jobs that were not delivered: ready again after a delay, or dead.
    pub async fn fail(&self, failed: &[FailedJob]) -> Result<Vec<JobResult>, Fault> {
        let jobs = &self.jobs;
        let failures = failed
            .iter()
            .map(|job| {
                let held = Held { job_id: job.job_id, lease_token: job.lease_token };
                let dead_reason = job.dead.then_some("refused");
                Failure::new(&jobs.keyring, held, &job.error, job.delay_seconds, dead_reason)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let lost = jobs.fail(&failures).await?;
        Ok(results(failures.iter().map(|failure| failure.held), &lost, |_| ()))
    }
}

impl Jobs {
    /// Runs one statement under the deadline.
    async fn bounded<T>(&self, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Fault> {
        match timeout(self.deadline, statement).await {
            Ok(result) => result.map_err(Fault::from),
            Err(_) => Err(Fault::TimedOut(self.deadline)),
        }
    }

    /// Opens what was leased. A lost key is kept trying with backoff, for an operator may put it back; what
    /// was tampered with is dead at once.
    async fn open_messages(&self, leased: Vec<lease::Leased>, token: Uuid) -> Result<Vec<LeasedJob>, Fault> {
        let mut opened = Vec::with_capacity(leased.len());
        let mut failures = Vec::new();
        for row in leased {
            let (job_id, message_id) = (row.job_id, row.message_id);
            match row.open(&self.keyring, token) {
                Ok(job) => opened.push(job),
                Err(reason) => {
                    error!(%job_id, %message_id, %reason, "a leased message cannot be opened");
                    let held = Held { job_id, lease_token: token };
                    let dead_reason = reason.is_final().then_some("unreadable");
                    failures.push(Failure::new(&self.keyring, held, &reason.to_string(), None, dead_reason)?);
                }
            }
        }
        self.metrics.leased(opened.len(), failures.len());
        if !failures.is_empty() {
            // If this fails, the reaper takes them back when the lease expires; the others are not held up.
            let _logged = self.fail(&failures).await.inspect_err(|fault| error!(%fault, "cannot fail them"));
        }
        Ok(opened)
    }

    async fn fail(&self, failures: &[Failure]) -> Result<HashSet<Held>, Fault> {
        let failed = self.bounded(fail::fail(&self.pool, failures)).await?;
        for job in &failed {
            self.metrics.failed(job.dead);
            if job.ready_now {
                self.wakeups.wake(&job.queue);
            }
        }
        self.metrics.failures_lost(failures.len().saturating_sub(failed.len()));
        Ok(failed.into_iter().map(|job| job.held).collect())
    }
}

/// One result per item of the request, in its order: `ok` for what a statement found under its lease.
fn results(
    asked: impl Iterator<Item = Held>,
    found: &HashSet<Held>,
    count: impl Fn(JobOutcome),
) -> Vec<JobResult> {
    asked
        .map(|held| {
            let outcome = if found.contains(&held) { JobOutcome::Ok } else { JobOutcome::LeaseLost };
            count(outcome);
            JobResult { job_id: held.job_id, outcome }
        })
        .collect()
}
