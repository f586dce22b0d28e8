//! Stopping in order: soft stop → deadline → hard stop, with every task accounted for.
//!
//! A soft stop asks: listeners stop accepting, loops end, what was accepted is finished. A hard stop
//! drops what is left. All tasks are spawned here, so none outlives the process's answer "stopped". Whoever tells others
//! how that goes, such as the management listener, is there until it is over.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// The stop signal of one running app, and the tasks that obey it. Clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    over: CancellationToken,
    witnesses: TaskTracker,
}

/// How long what goes on to the end has, once everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Ends the app when a task it cannot do without panics: a silent half-dead process is worse than none.
struct EndOnPanic(&'static str, Shutdown);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(task = self.0, "a task panicked; stopping");
            self.1.request();
        }
    }
}

impl Shutdown {
    /// Nothing is stopping yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task of the app. If it panics, the app stops. It is dropped at the hard stop.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = EndOnPanic(name, self.clone());
        let hard = self.hard.clone();
        self.tasks.spawn(async move {
            let _guard = guard;
            if hard.run_until_cancelled(task).await.is_none() {
                warn!(task = name, "dropped at the hard stop");
            }
        })
    }

    /// Runs a task that serves one peer: if it panics, only that peer notices.
    pub fn spawn_for_peer<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // on the heap by itself: inside of two futures more it would be there twice
        let (hard, task) = (self.hard.clone(), Box::pin(task));
        self.tasks.spawn(async move {
            hard.run_until_cancelled(task).await;
        });
    }

    /// Runs a task that the stop itself needs: nothing waits for it, and it is told by [`Self::over`] when all others have
    /// ended. If it panics, the app stops.
    pub fn spawn_to_the_end<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = EndOnPanic(name, self.clone());
        self.witnesses.spawn(async move {
            let _guard = guard;
            task.await;
        })
    }

    /// Asks for a soft stop.
    pub fn request(&self) {
        self.soft.cancel();
    }

    /// Asks for a hard stop.
    pub fn request_hard(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Whether a soft stop was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits for the soft stop.
    pub async fn requested(&self) {
        self.soft.cancelled().await;
    }

    /// Waits for the hard stop.
    pub async fn requested_hard(&self) {
        self.hard.cancelled().await;
    }

    /// Waits until every task has ended or was dropped.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// A token that the soft stop cancels, and that can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> CancellationToken {
        self.soft.child_token()
    }

    /// Waits until every task has ended; past the deadline the rest is dropped.
    pub async fn drained(&self, deadline: Duration) {
        self.request();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            warn!(tasks = self.tasks.len(), ?deadline, "not finished in time; hard stop");
            self.hard.cancel();
            self.tasks.wait().await;
        }
        self.over.cancel();
        self.witnesses.close();
        if tokio::time::timeout(LAST_WORDS, self.witnesses.wait()).await.is_err() {
            warn!("what should have ended with everything else did not");
        }
        info!("stopped");
    }

    /// Turns SIGINT and SIGTERM into a soft stop, and a second one into a hard stop.
    pub fn obey_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shutdown = self.clone();
        // Not tracked: it waits for signals until the very end, also while the tracked tasks drain.
        #[expect(clippy::disallowed_methods, reason = "the module that the ban on tokio::spawn points to")]
        tokio::spawn(async move {
            loop {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                if shutdown.is_requested() {
                    shutdown.request_hard();
                    warn!("second signal: hard stop");
                } else {
                    shutdown.request();
                    info!("signal: soft stop");
                }
            }
        });
        Ok(())
    }
}
