//! The second hop: messages of many clients' requests, collected into batches, to a main server.
//!
//! In: validated messages with their verified principal. Out: what the main server committed. Refused:
//! a message for which there is no place to wait (`overloaded`), or that no main server answered for in
//! time (`upstream_unavailable`; it may have been stored all the same).

mod fair_queue;
mod batch;
mod dispatch;
mod refused;
mod client;
mod upstream;

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use shared::{
    shutdown::Shutdown,
    wire::{
        Code, Problem,
        status::{MessageStatus, StatusRequest},
        submit::{SubmitResult, SubmittedMessage},
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tracing::debug;

use self::fair_queue::{FairQueue, NoPlace};
use crate::{config, metrics::Metrics};

pub(crate) use refused::MainServers;
pub(crate) use upstream::{Upstreams, upstreams};

/// A message waiting for its answer.
#[derive(Debug)]
struct Waiting {
    message: SubmittedMessage,
    /// What it adds to a batch, about.
    bytes: usize,
    deadline: Instant,
    reply: oneshot::Sender<SubmitResult>,
}

/// The other end: whoever waits, counted for as long as it does, also if its client goes away.
struct Awaited {
    answer: oneshot::Receiver<SubmitResult>,
    waiting: Gauge,
}

/// The door to the second hop.
#[derive(Debug)]
pub(crate) struct Forward {
    queue: Arc<FairQueue>,
    upstreams: Arc<Upstreams>,
    retry_for: Duration,
    metrics: Arc<Metrics>,
}

impl Forward {
    /// Starts collecting and sending.
    pub(crate) fn start(
        config: &config::Upstream,
        upstreams: Arc<Upstreams>,
        metrics: Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Self {
        let queue = Arc::new(FairQueue::new(config.waiting));
        let dispatcher = dispatch::Dispatcher::new(config, queue.clone(), upstreams.clone(), metrics.clone());
        shutdown.spawn("dispatch", dispatcher.run(shutdown.clone()));
        Self { queue, upstreams, retry_for: config.retry_for.0, metrics }
    }

    /// Sends one message on and waits for its commit.
    pub(crate) async fn submit(&self, message: SubmittedMessage) -> Result<SubmitResult, Problem> {
        let deadline = Instant::now() + self.retry_for;
        self.enqueue(message, deadline)?.until(deadline).await
    }

    /// Sends messages on and waits for their commits; one result per message, in order. They share their batches
    /// with whatever other clients send.
    pub(crate) async fn submit_all(
        &self,
        messages: Vec<SubmittedMessage>,
    ) -> Vec<Result<SubmitResult, Problem>> {
        let deadline = Instant::now() + self.retry_for;
        let enqueued: Vec<_> = messages.into_iter().map(|message| self.enqueue(message, deadline)).collect();
        let mut results = Vec::with_capacity(enqueued.len());
        for awaited in enqueued {
            results.push(match awaited {
                Ok(awaited) => awaited.until(deadline).await,
                Err(problem) => Err(problem),
            });
        }
        results
    }

    /// Asks what became of a message; `None` if the client has none of this id.
    pub(crate) async fn status(&self, asked: &StatusRequest) -> Result<Option<MessageStatus>, Problem> {
        let deadline = Instant::now() + self.retry_for;
        self.upstreams.status(asked, deadline).await.map_err(|error| {
            debug!(%error, "no main server says what became of a message");
            Problem::new(Code::UpstreamUnavailable, "no main server answered in time; ask again")
        })
    }

    fn enqueue(&self, message: SubmittedMessage, deadline: Instant) -> Result<Awaited, Problem> {
        let (reply, answer) = oneshot::channel();
        let bytes = batch::estimate(&message);
        self.queue.push(Waiting { message, bytes, deadline, reply }).map_err(|NoPlace| {
            Problem::new(Code::Overloaded, "too many messages are waiting to be stored; try again later")
        })?;
        self.metrics.waiting.inc();
        Ok(Awaited { answer, waiting: self.metrics.waiting.clone() })
    }
}

impl Drop for Forward {
    /// Lets the dispatcher end once it has sent what waits.
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Awaited {
    async fn until(mut self, deadline: Instant) -> Result<SubmitResult, Problem> {
        match timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(result)) => Ok(result),
            _ => Err(Problem::new(
                Code::UpstreamUnavailable,
                "the message could not be stored in time; its outcome is unknown: send it again",
            )),
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}
