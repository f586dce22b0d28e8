//! Adaptive batching: what waits leaves as one batch when it is worth the way (`pace`), and comes back with its answers.
//!
//! A batch that got no answer is sent again, to the next main server, until its messages' time is over.
//! Resending is safe whichever server stored it: the ids were minted here, and a stored id is answered
//! with what was stored.

use std::{sync::Arc, time::Duration};

use shared::{
    shutdown::Shutdown,
    wire::submit::{SubmitOutcome, SubmitResponse, SubmitResult, SubmittedMessage},
};
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

use super::{
    Submitted, Waiting,
    batch::drop_answered,
    fair_queue::{FairQueue, Place},
    pace::LATE,
    upstream::{Unanswered, Upstreams},
};
use crate::metrics::Metrics;

/// Between attempts, once every main server has been tried.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// In the shortest time that a message may wait, what waited too long is looked for so often.
const SHED_PART: u32 = 4;

pub(super) struct Dispatcher {
    queue: Arc<FairQueue>,
    sender: Sender,
}

#[derive(Clone)]
struct Sender {
    upstreams: Arc<Upstreams>,
    metrics: Arc<Metrics>,
}

impl Dispatcher {
    pub(super) fn new(queue: Arc<FairQueue>, upstreams: Arc<Upstreams>, metrics: Arc<Metrics>) -> Self {
        Self { queue, sender: Sender { upstreams, metrics } }
    }

    /// Runs until nobody can submit any more, which is after the last connection has ended.
    pub(super) async fn run(self, shutdown: Shutdown) {
        while let Some((batch, place)) = self.queue.collect().await {
            self.sender.metrics.batch_messages.observe(usize_to_f64(batch.len()));
            // the one that waited longest is not known without looking at all; the first one tells enough
            let waited = batch.first().map_or(Duration::ZERO, |first| first.since.elapsed());
            self.sender.metrics.waited.observe(waited.as_secs_f64());
            shutdown.spawn("send batch", self.sender.clone().send(batch, place));
        }
    }
}

impl Sender {
    /// Sends a batch to its end. One that a main server refuses as a whole, for its size or its shape, is halved
    /// until the message at fault stands alone: it is rejected, and its neighbours are stored.
    async fn send(self, batch: Vec<Waiting>, _place: Place) {
        let left = Instant::now();
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let mut refused = self.send_part(part, left).await;
            if refused.len() > 1 {
                let right = refused.split_off(refused.len() / 2);
                parts.extend([right, refused]);
            } else if let Some(alone) = refused.pop() {
                let result = SubmitResult {
                    message_id: alone.message.message_id,
                    original: None,
                    outcome: SubmitOutcome::Rejected,
                    code: None,
                    queued_at: None,
                };
                reply(vec![alone], vec![result], left);
            }
        }
    }

    /// Sends until it is answered or its time is over; answers the batch itself if it was refused as a whole.
    async fn send_part(&self, mut batch: Vec<Waiting>, left: Instant) -> Vec<Waiting> {
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            drop_answered(&mut batch);
            // The youngest message decides for how long the batch is worth sending.
            let Some(deadline) = batch.iter().map(|waiting| waiting.deadline).max() else { return batch };
            match self.attempt(&batch, deadline).await {
                Ok(response) => {
                    reply(batch, response.results, left);
                    return Vec::new();
                }
                Err(Unanswered::Refused(status)) => {
                    error!(%status, messages = batch.len(), "a main server refused a batch as a whole");
                    return batch;
                }
                Err(error) => {
                    attempts += 1;
                    self.metrics.upstream_failures.inc();
                    debug!(%error, attempts, messages = batch.len(), "batch not answered");
                }
            }
            if attempts % self.upstreams.len() == 0 {
                sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn attempt(&self, batch: &[Waiting], deadline: Instant) -> Result<SubmitResponse, Unanswered> {
        let messages: Vec<&SubmittedMessage> = batch.iter().map(|waiting| &waiting.message).collect();
        let body = serde_json::to_vec(&messages).map_err(Unanswered::unreadable)?;
        self.metrics.upstream_attempts.inc();
        let response = self.upstreams.post(body, deadline).await?;
        // One result per message, in order: anything else could tell a client of another's message.
        let in_order = response.results.len() == batch.len()
            && response.results.iter().zip(&messages).all(|(one, sent)| one.message_id == sent.message_id);
        if in_order {
            return Ok(response);
        }
        error!("a main server's results do not match the batch they answer");
        Err(Unanswered::Mismatch)
    }
}

/// Refuses what has waited too long, also while no batch leaves, until nothing will come any more.
pub(super) async fn shed(queue: Arc<FairQueue>) {
    while queue.look_after() {
        sleep((queue.patience() / SHED_PART).min(LATE)).await;
    }
}

fn reply(batch: Vec<Waiting>, results: Vec<SubmitResult>, left: Instant) {
    let took = left.elapsed();
    for (waiting, result) in batch.into_iter().zip(results) {
        let submitted = Submitted { result, waited: left.saturating_duration_since(waiting.since), took };
        // A client that went away is no error: its message is stored, as it would be without an answer.
        let _ = waiting.reply.send(Ok(submitted));
    }
}

fn usize_to_f64(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}
