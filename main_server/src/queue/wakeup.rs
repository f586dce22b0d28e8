//! Telling waiting workers of this process that a job may be ready.
//!
//! One waiting worker per event: it takes what it can, and wakes the next one if there is more. Only a hint:
//! jobs that another process committed, or whose delay ended, are found by the poll behind it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// Who waits, by queue.
#[derive(Debug, Default)]
pub(super) struct Wakeups(Mutex<HashMap<String, Arc<Notify>>>);

impl Wakeups {
    /// Where to wait for jobs of a queue. Entries stay: queues are few, and only those that exist get here.
    pub(super) fn of(&self, queue: &str) -> Arc<Notify> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = queues.get(queue) {
            return waiting.clone();
        }
        queues.entry(queue.to_owned()).or_default().clone()
    }

    /// Wakes one of those who wait, or the next one to come.
    pub(super) fn wake(&self, queue: &str) {
        self.of(queue).notify_one();
    }
}
