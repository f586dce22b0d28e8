//! Ctrl-C and SIGTERM, as something that can be waited for and asked.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked us to stop. Clones share the answer; the default is never asked.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Interrupt {
    /// Obeys SIGINT, SIGTERM and SIGHUP from now on. The second one ends this process at once: the children
    /// stop because their standard input ends, and the guardian stops Postgres.
    pub fn on_signals() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let asked = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>().context("cannot listen for signals")
        })?;
        thread::spawn(move || {
            let mut next = || {
                runtime.block_on(async {
                    let [int, term, hangup] = signals.as_mut_slice() else { return };
                    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hangup.recv() => {} }
                });
            };
            next();
            asked.ask();
            next();
            std::process::exit(1);
        });
        Ok(interrupt)
    }

    /// Asks to stop.
    pub fn ask(&self) {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the question, at most so long; the answer is [`Interrupt::is_asked`].
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(asked, patience, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
