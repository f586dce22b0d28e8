//! The second hop: messages of many clients' requests, collected into batches, to a main server.
//!
//! In: validated messages with their verified principal. Out: what the main server committed. Refused:
//! a message for which there is no place to wait, or that waited too long for its turn (`overloaded`: it is not
//! stored), or that no main server answered for in time (`upstream_unavailable`; it may have been stored all the
//! same).

mod fair_queue;
mod pace;
mod batch;
mod dispatch;
mod refused;
mod client;
mod upstream;

use std::{sync::Arc, time::Duration};

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
use crate::{
    config,
    metrics::{Metrics, Shed},
};

pub(crate) use refused::MainServers;
pub(crate) use upstream::{Upstreams, upstreams};

const WAITED: &str = "messages wait too long to be stored; this one is not stored: try again later";

/// A message waiting for its answer.
#[derive(Debug)]
struct Waiting {
    message: SubmittedMessage,
    /// What it adds to a batch, about.
    bytes: usize,
    /// In the queue.
    since: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Reply>,
}

/// What became of a message that got a place.
type Reply = Result<Submitted, TooLate>;

/// A message that a main server answered for.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) result: SubmitResult,
    /// For its batch to leave.
    pub(crate) waited: Duration,
    /// From then on.
    pub(crate) took: Duration,
}

/// It waited too long for a batch, and is in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TooLate;

/// The other end: whoever waits, counted for as long as it does, also if its client goes away.
struct Awaited {
    answer: oneshot::Receiver<Reply>,
    metrics: Arc<Metrics>,
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
        let queue = Arc::new(FairQueue::new(config));
        shutdown.spawn("shed", dispatch::shed(queue.clone()));
        let dispatcher = dispatch::Dispatcher::new(queue.clone(), upstreams.clone(), metrics.clone());
        shutdown.spawn("dispatch", dispatcher.run(shutdown.clone()));
        Self { queue, upstreams, retry_for: config.retry_for.0, metrics }
    }

    /// Sends one message on and waits for its commit.
    pub(crate) async fn submit(&self, message: SubmittedMessage) -> Result<Submitted, Problem> {
        let deadline = Instant::now() + self.retry_for;
        self.enqueue(message, deadline)?.until(deadline).await
    }

    /// Sends messages on and waits for their commits; one result per message, in order. They share their batches
    /// with whatever other clients send.
    pub(crate) async fn submit_all(
        &self,
        messages: Vec<SubmittedMessage>,
    ) -> Vec<Result<Submitted, Problem>> {
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
        let (bytes, since) = (batch::estimate(&message), Instant::now());
        self.queue.push(Waiting { message, bytes, since, deadline, reply }).map_err(|refused| {
            let (reason, text) = match refused {
                NoPlace::Full => {
                    (Shed::NoPlace, "too many messages are waiting to be stored; try again later")
                }
                NoPlace::Standing => (Shed::Waited, WAITED),
            };
            self.metrics.shed(reason);
            Problem::new(Code::Overloaded, text)
        })?;
        self.metrics.waiting.inc();
        Ok(Awaited { answer, metrics: self.metrics.clone() })
    }
}

impl Drop for Forward {
    /// Lets the dispatcher end once it has sent what waits.
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Awaited {
    async fn until(mut self, deadline: Instant) -> Result<Submitted, Problem> {
        match timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(Ok(submitted))) => Ok(submitted),
            Ok(Ok(Err(TooLate))) => {
                self.metrics.shed(Shed::Waited);
                Err(Problem::new(Code::Overloaded, WAITED))
            }
            _ => Err(Problem::new(
                Code::UpstreamUnavailable,
                "the message could not be stored in time; its outcome is unknown: send it again",
            )),
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.metrics.waiting.dec();
    }
}
