//! Telling the other main servers that a queue has jobs and nobody here waits for them.
//!
//! In: names of queues. Out: notifications, at most 200 statements a second however much happens, the last event
//! always among what they tell. They are sent outside of any transaction of the queue: a NOTIFY takes a lock of
//! the whole database until its commit.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use tokio::{sync::Notify, time::timeout};
use tracing::debug;

/// Between two statements.
const GAP: Duration = Duration::from_millis(5);
/// One statement, and the pause after one that failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is still to be told.
#[derive(Debug, Default)]
pub(super) struct Teller {
    pending: Mutex<Pending>,
    changed: Notify,
}

/// Each queue, and when to tell about it.
#[derive(Debug, Default)]
struct Pending(HashMap<String, Instant>);

impl Teller {
    /// Tells about a queue at that time, or earlier if that was asked for before.
    pub(super) fn tell(&self, queue: &str, at: Instant) {
        self.pending().add(queue, at);
        self.changed.notify_one();
    }

    /// What was put off is told at once.
    pub(super) fn hurry(&self, queue: &str) {
        if let Some(at) = self.pending().0.get_mut(queue) {
            *at = Instant::now();
            self.changed.notify_one();
        }
    }

    /// Runs until the soft stop. What it has not told then is found by the others' polls.
    pub(super) async fn run(&self, pool: &PgPool, shutdown: &Shutdown) {
        while !shutdown.is_requested() {
            let due = self.take_due();
            if due.is_empty() {
                tokio::select! {
                    () = self.until_due() => {}
                    () = self.changed.notified() => {}
                    () = shutdown.requested() => return,
                }
                continue;
            }
            let told = timeout(PATIENCE, tell(pool, &due)).await;
            let pause = if matches!(told, Ok(Ok(()))) {
                GAP
            } else {
                debug!(?told, "could not tell the other main servers; trying again");
                let again = Instant::now() + PATIENCE;
                for queue in &due {
                    self.pending().add(queue, again);
                }
                PATIENCE
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// Whom to tell about now.
    pub(super) fn take_due(&self) -> Vec<String> {
        self.pending().take_due(Instant::now())
    }

    async fn until_due(&self) {
        let next = self.pending().0.values().min().copied();
        match next {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn add(&mut self, queue: &str, at: Instant) {
        match self.0.get_mut(queue) {
            Some(before) => *before = at.min(*before),
            None => drop(self.0.insert(queue.to_owned(), at)),
        }
    }

    fn take_due(&mut self, now: Instant) -> Vec<String> {
        self.0.extract_if(|_, at| *at <= now).map(|(queue, _)| queue).collect()
    }
}

/// One statement. It need not be durable, and so waits for no fsync: the setting ends with it.
pub(super) async fn tell(pool: &PgPool, payloads: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"-- queue.tell
        SELECT set_config('synchronous_commit', 'off', true) AS "setting!",
               pg_notify('portcullis_queue', payload) AS "told!"
        FROM unnest($1::text[]) AS payload"#,
        payloads,
    )
    .fetch_all(pool)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_events_are_told_once_and_the_last_one_is_told_too() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for _ in 0..1000 {
            pending.add("default", now);
        }
        assert_eq!(pending.take_due(now), ["default"]);
        assert!(pending.take_due(now).is_empty());
        pending.add("default", now);
        assert_eq!(pending.take_due(now), ["default"]);
    }

    #[test]
    fn what_is_put_off_is_told_when_it_is_due_or_hurried() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let later = now + Duration::from_millis(50);
        pending.add("default", later);
        assert!(pending.take_due(now).is_empty());
        assert_eq!(pending.take_due(later), ["default"]);
        pending.add("default", later);
        pending.add("default", now);
        pending.add("default", later);
        assert_eq!(pending.take_due(now), ["default"], "the earliest counts");

        let teller = Teller::default();
        teller.hurry("default");
        assert!(teller.pending().take_due(Instant::now()).is_empty(), "nothing was put off");
        teller.tell("default", Instant::now() + Duration::from_hours(1));
        teller.hurry("default");
        assert_eq!(teller.pending().take_due(Instant::now()), ["default"]);
    }
}
