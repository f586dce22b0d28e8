//! Where leased jobs are delivered to: in, a batch of jobs; out, what became of each.
//!
//! There is one sink, a file of JSON lines. The trait comes with the second one.

mod jsonl;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use shared::wire::lease::{Held, LeasedJob};
use tracing::{info, warn};

use self::jsonl::JsonlFile;
pub use self::jsonl::SinkError;

/// Where to write, and how much to remember.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// The file that lines are appended to; made with mode 0600 when it is missing.
    pub output: PathBuf,
    /// How many of the latest message ids are kept in memory, to recognise repeats without reading the file.
    pub recent_ids: usize,
}

/// What became of one job in the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its line is in the file, on disk.
    Written,
    /// A line with its message id was in the file already; nothing was added.
    AlreadyThere,
    /// It is not in the file; the text says why.
    Failed(String),
}

/// A file of JSON lines, one message each, that only this process writes.
#[derive(Debug, Clone)]
pub struct Sink {
    file: Arc<tokio::sync::Mutex<JsonlFile>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Sink {
    /// Opens the file for this process alone, repairs a torn last line, and reads the latest message ids.
    pub fn open(options: SinkOptions) -> Result<Self, SinkError> {
        let file = JsonlFile::open(options)?;
        Ok(Self { file: Arc::new(tokio::sync::Mutex::new(file)), trouble: Arc::default() })
    }

    /// Writes the batch and waits for the disk; answers for every job, in order. The whole batch shares one
    /// write and one fsync, so either all its new lines are in the file or none.
    ///
    /// Dropping the future does not undo the write: it goes on, and the next batch waits for its end.
    pub async fn deliver(&self, jobs: Vec<LeasedJob>) -> Vec<(Held, Outcome)> {
        let held: Vec<Held> =
            jobs.iter().map(|job| Held { job_id: job.job_id, lease_token: job.lease_token }).collect();
        let outcomes = self
            .on_file(move |file| file.append(&jobs))
            .await
            .unwrap_or_else(|error| vec![Outcome::Failed(error); held.len()]);
        held.into_iter().zip(outcomes).collect()
    }

    /// Why the latest batch could not be written, when it could not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tries, without any job, whether the trouble is over.
    pub async fn retry(&self) {
        // How it went is noted as the trouble, or its end.
        let _ = self.on_file(JsonlFile::rehearse).await;
    }

    /// Keeps every batch waiting while the guard lives: a slow disk.
    #[cfg(test)]
    pub(crate) async fn stall(&self) -> tokio::sync::OwnedMutexGuard<impl Sized + use<>> {
        Arc::clone(&self.file).lock_owned().await
    }

    /// Works on the file in a thread that may block, and notes whether it went well.
    async fn on_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut JsonlFile) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, String> {
        let mut file = Arc::clone(&self.file).lock_owned().await;
        let sink = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut file).map_err(|error| error.to_string());
            sink.note(done.as_ref().err());
            done
        });
        done.await.unwrap_or_else(|error| Err(format!("the sink broke off: {error}")))
    }

    fn note(&self, trouble: Option<&String>) {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (noted.as_ref(), trouble) {
            (before, Some(now)) if before != Some(now) => warn!(error = now, "the sink is in trouble"),
            (Some(_), None) => info!("the sink takes messages again"),
            _ => {}
        }
        *noted = trouble.cloned();
    }
}
