//! How much more may be leased: in, two limits; out, room that a batch holds until its last job is settled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// Room for batches, and for the jobs in them.
#[derive(Debug)]
pub(super) struct Capacity {
    batches: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
    max_batches: u32,
    max_batch: u32,
}

/// Room for one batch of so many jobs; given back on drop.
#[derive(Debug)]
pub(super) struct Room {
    _batch: OwnedSemaphorePermit,
    jobs: OwnedSemaphorePermit,
}

impl Capacity {
    /// Nothing is in hand yet.
    pub(super) fn new(limits: &Limits) -> Self {
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits as usize));
        Self {
            batches: semaphore(limits.batches),
            jobs: semaphore(limits.max_jobs),
            max_batches: limits.batches,
            max_batch: limits.batch,
        }
    }

    /// Waits for room for a batch of at least one job, and takes as much as is free and one batch may have.
    /// None only if the semaphores were closed, which nobody does.
    pub(super) async fn room(&self) -> Option<Room> {
        let batch = Arc::clone(&self.batches).acquire_owned().await.ok()?;
        let mut jobs = Arc::clone(&self.jobs).acquire_owned().await.ok()?;
        while jobs.num_permits() < self.max_batch as usize
            && let Ok(more) = Arc::clone(&self.jobs).try_acquire_owned()
        {
            jobs.merge(more);
        }
        Some(Room { _batch: batch, jobs })
    }

    /// Waits until no batch is in hand.
    pub(super) async fn all_free(&self) {
        // An error means that the semaphore was closed, which nobody does.
        let _ = self.batches.acquire_many(self.max_batches).await;
    }
}

impl Room {
    /// For how many jobs there is room.
    pub(super) fn jobs(&self) -> u32 {
        u32::try_from(self.jobs.num_permits()).unwrap_or(u32::MAX)
    }

    /// Gives back what is not needed for so many jobs.
    pub(super) fn shrink_to(&mut self, jobs: usize) {
        drop(self.jobs.split(self.jobs.num_permits().saturating_sub(jobs)));
    }
}
