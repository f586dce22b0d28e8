//! The second hop: messages of many clients' requests, collected into batches, to a main server.
//!
//! In: one validated message with its verified principal. Out: what the main server committed. Refused:
//! a message for which there is no place to wait (`overloaded`), or that no main server answered for in
//! time (`upstream_unavailable`; it may have been stored all the same).

mod batch;
mod dispatch;
mod upstream;

use std::{sync::Arc, time::Duration};

use shared::{
    shutdown::Shutdown,
    wire::{
        Code, Problem,
        submit::{SubmitResult, SubmittedMessage},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{config, metrics::Metrics};

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

/// The door to the second hop.
#[derive(Debug)]
pub(crate) struct Forward {
    sender: mpsc::Sender<Waiting>,
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
        let (sender, receiver) = mpsc::channel(config.waiting);
        let dispatcher = dispatch::Dispatcher::new(config, receiver, upstreams, metrics.clone());
        shutdown.spawn("dispatch", dispatcher.run(shutdown.clone()));
        Self { sender, retry_for: config.retry_for.0, metrics }
    }

    /// Sends one message on and waits for its commit.
    pub(crate) async fn submit(&self, message: SubmittedMessage) -> Result<SubmitResult, Problem> {
        let deadline = Instant::now() + self.retry_for;
        let (reply, answer) = oneshot::channel();
        let bytes = batch::estimate(&message);
        self.sender.try_send(Waiting { message, bytes, deadline, reply }).map_err(|_| {
            Problem::new(Code::Overloaded, "too many messages are waiting to be stored; try again later")
        })?;
        self.metrics.waiting.inc();
        let answered = timeout_at(deadline, answer).await;
        self.metrics.waiting.dec();
        match answered {
            Ok(Ok(result)) => Ok(result),
            _ => Err(Problem::new(
                Code::UpstreamUnavailable,
                "the message could not be stored in time; its outcome is unknown: send it again",
            )),
        }
    }
}
