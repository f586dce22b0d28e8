//! The worker's hold on its sink: in, batches from several tasks; out, what became of each job. One batch at a
//! time, in the order in which they asked; the sink works on a thread that may block.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use shared::wire::lease::{Held, LeasedJob};
use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};

use super::{Outcome, Sink, SinkError, SinkOptions};

/// A sink that several batches wait for. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct SharedSink {
    sink: Arc<tokio::sync::Mutex<Box<dyn Sink>>>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// The sink, for one batch; the others wait.
#[derive(Debug)]
pub struct Turn {
    sink: OwnedMutexGuard<Box<dyn Sink>>,
    of: SharedSink,
}

impl SharedSink {
    /// Opens the sink that the options name.
    pub fn open(options: SinkOptions) -> Result<Self, SinkError> {
        Ok(Self::over(options.open()?))
    }

    /// Takes a sink that is open.
    #[must_use]
    pub fn over(sink: Box<dyn Sink>) -> Self {
        Self { sink: Arc::new(tokio::sync::Mutex::new(sink)), trouble: Arc::default() }
    }

    /// Waits until no other batch is being delivered.
    pub async fn turn(&self) -> Turn {
        Turn { sink: Arc::clone(&self.sink).lock_owned().await, of: self.clone() }
    }

    /// Why the latest batch could not be delivered, when it could not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tries, without any job, whether the trouble is over.
    pub async fn retry(&self) {
        // How it went is noted as the trouble, or its end.
        let _ = self.turn().await.run(<dyn Sink>::rehearse).await;
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

impl Turn {
    /// Delivers the batch; answers for every job, in order. The whole batch shares one write, so that it is
    /// delivered or refused together, but for jobs that are at fault themselves.
    ///
    /// Dropping the future does not undo the delivery: it goes on, and the next batch waits for its end.
    pub async fn deliver(self, jobs: Vec<LeasedJob>) -> Vec<(Held, Outcome)> {
        let held: Vec<Held> =
            jobs.iter().map(|job| Held { job_id: job.job_id, lease_token: job.lease_token }).collect();
        if held.is_empty() {
            return Vec::new();
        }
        let outcomes = self
            .run(move |sink| sink.deliver(&jobs))
            .await
            .unwrap_or_else(|error| vec![Outcome::Failed(error); held.len()]);
        held.into_iter().zip(outcomes).collect()
    }

    /// Works on the sink in a thread that may block, and notes whether it went well.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut dyn Sink) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, String> {
        let Self { mut sink, of } = self;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut **sink).map_err(|error| error.to_string());
            of.note(done.as_ref().err());
            done
        });
        done.await.unwrap_or_else(|error| Err(format!("the sink broke off: {error}")))
    }
}
