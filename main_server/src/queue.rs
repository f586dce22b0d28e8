//! The queue's one door: durable submission, and the leases on jobs.
//!
//! In: verified messages from proxies, verbs from workers. Out: per-item results, committed before they are
//! answered. Refused: more than the store takes on, and whatever a lost or expired lease asks for.
//! All SQL on `queues`, `messages` and `job_groups` is below here: one transition, one statement, one file. The
//! statement is a call of the function that is the transition, in `migrations/0021_queue_verbs.sql` and after it.
//!
//! ```text
//! submit ─▶ store (group commit) ─▶ insert │ recognise (compare, idempotency)
//! lease ─▶ front ─▶ lease ─▶ open │ fail        renew, complete, fail: fenced by job, token and state
//!                                 reap: leases that nobody renewed; purge: what is long finished
//! ```

mod store;
mod kept;
mod insert;
mod idempotency;
mod compare;
mod recognise;
mod front;
mod lease;
mod held;
mod renew;
mod complete;
mod fail;
mod reap;
mod purge;
mod depths;
mod rules;
mod status;
pub mod reseal;
pub mod dead_letters;
mod overview;
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
        status::{MessageStatus, StatusRequest},
        submit::{SubmitResult, SubmittedMessage},
    },
};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::error;
use uuid::Uuid;

pub use fault::Fault;
pub use metrics::QueueMetrics;
pub use overview::{QueueOverview, QueueRules};

use self::{
    depths::Backlogs,
    fail::{Failure, Way},
    front::Fronts,
    held::jobs_of,
    lease::{Asked, Leased},
    store::Store,
    wakeup::Wakeups,
};
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
    fronts: Arc<Fronts>,
    backlogs: Arc<Backlogs>,
    wakeups: Arc<Wakeups>,
    metrics: QueueMetrics,
    /// Longer than any statement may take: a database that hangs is a database that is lost.
    deadline: Duration,
}

impl Queue {
    /// Opens the queue: its writers, its reaper and what else keeps it run until `shutdown`.
    #[must_use]
    pub fn open(
        pool: PgPool,
        keyring: Arc<Keyring>,
        config: &QueueConfig,
        deadline: Duration,
        metrics: QueueMetrics,
        shutdown: &Shutdown,
    ) -> Self {
        let (fronts, backlogs) = (Arc::default(), Arc::default());
        let wakeups = Wakeups::open(&pool, shutdown);
        let jobs = Jobs { pool, keyring, fronts, backlogs, wakeups, metrics, deadline };
        let store = store::open(jobs.clone(), config, shutdown);
        front::start(jobs.clone(), shutdown);
        reap::start(jobs.clone(), config, shutdown);
        idempotency::start(jobs.clone(), shutdown);
        purge::start(jobs.clone(), config, shutdown);
        depths::start(jobs.clone(), shutdown);
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

    /// What became of a message of this client's; `None` if there is none of this id.
    pub async fn status(&self, asked: &StatusRequest) -> Result<Option<MessageStatus>, Fault> {
        self.jobs.bounded(status::status(&self.jobs.pool, asked)).await
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
        let leased = jobs.take(&Asked { queue, max, lease_seconds, worker }, token).await?;
        let Some(first) = leased.first() else {
            if jobs.bounded(rules::queue_exists(&jobs.pool, queue)).await? {
                jobs.wakeups.emptied(queue.as_str());
                jobs.metrics.leased(0, 0);
                return Ok(Vec::new());
            }
            jobs.fronts.forget(queue.as_str());
            return Err(Fault::UnknownQueue(queue.clone()));
        };
        if first.more {
            jobs.wakeups.left_more(queue.as_str());
        } else {
            jobs.wakeups.emptied(queue.as_str());
        }
        jobs.open_messages(queue, leased, token).await
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
        Ok(results(held.iter().copied(), &jobs_of(&renewed), |outcome| jobs.metrics.renewed(outcome)))
    }

    /// Marks delivered jobs as done.
    pub async fn complete(&self, held: &[Held]) -> Result<Vec<JobResult>, Fault> {
        let jobs = &self.jobs;
        let completed = jobs.bounded(complete::complete(&jobs.pool, held)).await?;
        for one in &completed {
            jobs.metrics.delivered(one.attempts, one.group.message_ids.len());
        }
        let found = jobs_of(completed.iter().map(|one| &one.group));
        Ok(results(held.iter().copied(), &found, |outcome| jobs.metrics.completed(outcome)))
    }

    /// Hands back jobs that were not delivered: ready again, at once or after a delay, or dead.
    pub async fn fail(&self, failed: &[FailedJob]) -> Result<Vec<JobResult>, Fault> {
        let jobs = &self.jobs;
        let failures = failed
            .iter()
            .map(|job| {
                let held = Held { job_id: job.job_id, lease_token: job.lease_token };
                let way = match (job.released, job.dead) {
                    (true, _) => Way::Released,
                    (_, true) => Way::Dead("refused"),
                    _ => Way::Retried,
                };
                Failure::new(&jobs.keyring, held, &job.error, job.delay_seconds, way)
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

    /// Takes jobs, in turn with others who take from this queue.
    async fn take(&self, asked: &Asked<'_>, token: Uuid) -> Result<Vec<Leased>, Fault> {
        let front = self.fronts.of(asked.queue.as_str());
        let taking = async {
            let _turn = front.turn.lock().await;
            let floor = front.floor();
            let leased = lease::lease(&self.pool, asked, token, floor.at).await?;
            if let Some(first) = leased.first() {
                front.raise(floor, first.ready_at);
            }
            Ok(leased)
        };
        self.bounded(taking).await
    }

    /// Jobs became ready: whoever leases next looks at them, and somebody may be waiting.
    fn ready(&self, queue: &str, ready_at: OffsetDateTime) {
        self.fronts.of(queue).lower(ready_at);
        self.wakeups.wake(queue);
    }

    /// Opens what was leased. A lost key is kept trying with backoff, for an operator may put it back; what
    /// was tampered with is dead at once.
    async fn open_messages(
        &self,
        queue: &Name,
        leased: Vec<Leased>,
        token: Uuid,
    ) -> Result<Vec<LeasedJob>, Fault> {
        let mut opened = Vec::with_capacity(leased.len());
        let mut failures = Vec::new();
        for row in leased {
            let message_id = row.message_id;
            match row.open(&self.keyring, queue, token) {
                Ok(job) => opened.push(job),
                Err(reason) => {
                    error!(%message_id, %reason, "a leased message cannot be opened");
                    let held = Held { job_id: message_id, lease_token: token };
                    let way = if reason.is_final() { Way::Dead("unreadable") } else { Way::Retried };
                    failures.push(Failure::new(&self.keyring, held, &reason.to_string(), None, way)?);
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
        for part in &failed {
            self.metrics.failed(part.dead, part.group.message_ids.len());
            if part.ready_now {
                self.ready(&part.queue, part.ready_at);
            }
        }
        let found = jobs_of(failed.iter().map(|part| &part.group));
        self.metrics.failures_lost(failures.len().saturating_sub(found.len()));
        Ok(found)
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
