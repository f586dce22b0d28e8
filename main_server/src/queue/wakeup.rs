//! Telling waiting workers that a job may be ready, in this process and in the other main servers.
//!
//! In: jobs that became ready here, and notifications of other servers. Out: one waiting worker woken per event;
//! it takes what it can, and wakes the next one if it left something. Where nobody waits here, the others are
//! told ([`tell`]) if there are any ([`others`]), and each wakes one of its own ([`hear`]).
//!
//! All of it is a hint that may be lost. Behind it is the poll, which also finds jobs whose delay ended.

mod hear;
mod others;
mod tell;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use shared::shutdown::Shutdown;
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::sync::oneshot;
use uuid::Uuid;

use self::{hear::TO_MYSELF, others::Others, tell::Teller};

/// The channel between main servers; the payload is the queue's name.
const CHANNEL: &str = "portcullis_queue";
/// After a lease that left jobs in a queue, nobody is told about further ones for so long: whoever has room asks
/// anyway, for they all get something.
const BACKLOG: Duration = Duration::from_millis(50);
/// How long the connections of this module may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// More of our own connections than there are at a time; of older ones nothing is on its way any more.
const BACKENDS: usize = 8;

/// Who waits, by queue.
#[derive(Debug)]
pub(super) struct Wakeups {
    queues: Mutex<HashMap<String, Waiters>>,
    teller: Teller,
    others: Others,
    /// How what we send to ourselves begins.
    myself: String,
    /// The backends of our own connections, the latest last: what they say is no news to us.
    backends: Mutex<VecDeque<u32>>,
}

/// The workers that wait for jobs of one queue, the longest first.
#[derive(Debug, Default)]
struct Waiters {
    waiting: VecDeque<oneshot::Sender<()>>,
    /// Something became ready while nobody waited: the next one to come looks at once.
    missed: bool,
    /// Until when there are believed to be more jobs than workers.
    backlog_until: Option<Instant>,
}

/// A place in the line of those who wait.
#[derive(Debug)]
pub(super) struct Waiting {
    wakeups: Arc<Wakeups>,
    queue: String,
}

impl Wakeups {
    /// Listens to the other servers and tells them, until the soft stop, over two connections of its own, which
    /// are made like those of `pool`: hints must not wait behind the work, nor the work behind them.
    pub(super) fn open(pool: &PgPool, shutdown: &Shutdown) -> Arc<Self> {
        let wakeups = Arc::new(Self::new());
        let of_connection = wakeups.clone();
        let own = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(CONNECT)
            .after_connect(move |connection, _| {
                let wakeups = of_connection.clone();
                Box::pin(async move {
                    wakeups.connected(backend(connection).await?);
                    Ok(())
                })
            })
            .connect_lazy_with((*pool.connect_options()).clone());
        let (telling, hearing) = (wakeups.clone(), wakeups.clone());
        let (pool, stop) = (own.clone(), shutdown.clone());
        shutdown.spawn("queue.tell", async move { telling.teller.run(&pool, &stop).await });
        let stop = shutdown.clone();
        shutdown.spawn("queue.hear", async move {
            tokio::select! {
                () = hear::run(&own, &hearing) => {}
                () = stop.requested() => {}
            }
        });
        wakeups
    }

    fn new() -> Self {
        Self {
            queues: Mutex::default(),
            teller: Teller::default(),
            others: Others::default(),
            myself: format!("{TO_MYSELF}{}", Uuid::new_v4()),
            backends: Mutex::default(),
        }
    }

    /// Where to wait for jobs of a queue.
    pub(super) fn of(self: &Arc<Self>, queue: &str) -> Waiting {
        Waiting { wakeups: self.clone(), queue: queue.to_owned() }
    }

    /// Jobs became ready: wakes one of those who wait here; if nobody does, the next one to come looks at once,
    /// and the other servers are told, if there may be any.
    pub(super) fn wake(&self, queue: &str) {
        let mut queues = self.queues();
        let waiters = of(&mut queues, queue);
        let now = Instant::now();
        if !waiters.wake() && self.others.may_listen(now) {
            self.teller.tell(queue, waiters.backlog_until.map_or(now, |until| until.max(now)));
        }
    }

    /// A lease took as much as it might and may have left jobs: somebody else's turn, here or elsewhere.
    pub(super) fn left_more(&self, queue: &str) {
        self.wake(queue);
        of(&mut self.queues(), queue).backlog_until = Some(Instant::now() + BACKLOG);
    }

    /// A lease found less than it might have taken: from now on workers wait, and want to be told.
    pub(super) fn emptied(&self, queue: &str) {
        if of(&mut self.queues(), queue).backlog_until.take().is_some() {
            self.teller.hurry(queue);
        }
    }

    /// A server says that jobs became ready. It told everybody: nothing is passed on.
    fn heard(&self, queue: &str, backend: u32) {
        if queue.starts_with(TO_MYSELF) {
            // by what it says, not by who said it: a pooler may give another server the backend that was ours
            if !queue.starts_with(&self.myself) {
                self.others.heard(Instant::now());
            }
            return;
        }
        if self.backends().contains(&backend) {
            return;
        }
        // Only queues that somebody asked for here; anybody can send a notification.
        if let Some(waiters) = self.queues().get_mut(queue) {
            waiters.wake();
        }
    }

    fn connected(&self, backend: u32) {
        let mut backends = self.backends();
        backends.push_back(backend);
        if backends.len() > BACKENDS {
            backends.pop_front();
        }
    }

    fn backends(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Waiters>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of a connection's server process, by which its notifications are known.
async fn backend(connection: &mut PgConnection) -> Result<u32, sqlx::Error> {
    let backend = sqlx::query_scalar!(
        r#"-- queue.backend
        SELECT pg_backend_pid() AS "backend!""#
    );
    Ok(backend.fetch_one(connection).await?.unsigned_abs())
}

/// Entries stay: queues are few, and only those that exist get here.
fn of<'a>(queues: &'a mut HashMap<String, Waiters>, queue: &str) -> &'a mut Waiters {
    if !queues.contains_key(queue) {
        queues.insert(queue.to_owned(), Waiters::default());
    }
    queues.entry(queue.to_owned()).or_default()
}

impl Waiters {
    /// Whether somebody waited.
    fn wake(&mut self) -> bool {
        while let Some(waiting) = self.waiting.pop_front() {
            if waiting.send(()).is_ok() {
                return true;
            }
        }
        self.missed = true;
        false
    }
}

impl Waiting {
    /// Waits until it is this one's turn to look for jobs.
    pub(super) async fn notified(self) {
        let receiver = {
            let mut queues = self.wakeups.queues();
            let waiters = of(&mut queues, &self.queue);
            if std::mem::take(&mut waiters.missed) {
                return;
            }
            // Those who gave up: nobody else takes them out of a line that nothing moves.
            waiters.waiting.retain(|waiting| !waiting.is_closed());
            let (sender, receiver) = oneshot::channel();
            waiters.waiting.push_back(sender);
            receiver
        };
        let mut turn = Turn { waiting: self, receiver };
        let _never_dropped_unsent = (&mut turn.receiver).await;
    }
}

/// Somebody's turn to come. If it came to one that has just given up, it is the next one's.
struct Turn {
    waiting: Waiting,
    receiver: oneshot::Receiver<()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.receiver.close();
        if self.receiver.try_recv().is_ok() {
            self.waiting.wakeups.wake(&self.waiting.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_alone_tells_nobody_until_another_one_is_heard() {
        let wakeups = Wakeups::new();
        wakeups.wake("default");
        assert_eq!(wakeups.teller.take_due(), ["default"], "nobody knows yet who is there");

        let long_ago = Instant::now().checked_sub(Duration::from_mins(2)).unwrap();
        wakeups.others.listening(long_ago);
        wakeups.wake("default");
        wakeups.heard(&format!("{}.1", wakeups.myself), 1);
        wakeups.wake("default");
        assert!(wakeups.teller.take_due().is_empty(), "it hears itself alone");

        // a pooler gave another server the backend that was ours
        wakeups.connected(1);
        wakeups.heard("?4dd0a2c1-7f0a-4d1c-9d4b-0b8f0c6f8a55", 1);
        wakeups.wake("default");
        assert_eq!(wakeups.teller.take_due(), ["default"]);
    }
}
