//! A request's body on its way to its handler: at a least rate, into memory that there is, and taken back if it is
//! answered before its end.
//!
//! In: what hyper reads. Out: its pieces. Refused, with the rest unread: a sender that is too slow, more bytes than
//! the door has memory for, broken framing.
//!
//! Over HTTP/2, letting go of a body sends `RST_STREAM`, and clients in the field (curl 7.88 among them) then throw the
//! whole answer away, although it was complete. So whatever the handler left is read on for a while, like the
//! socket of an HTTP/1.1 connection is (see `linger`).

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep_until, timeout},
};

use super::{Connection, memory::Held, metrics::Bound, patience::Patience};
use crate::wire::{Code, Problem};

/// Bytes read on after an answer; flow control keeps the peer from sending many more.
const ENOUGH: usize = 64 * 1024;

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// Too little of it came for too long.
    #[error("the body came too slowly")]
    TooSlow,
    /// The requests that are being read hold all memory that there is for them.
    #[error("there is no memory for the body")]
    NoMemory,
    /// The connection broke, or it has no end where it must have one.
    #[error(transparent)]
    Broken(hyper::Error),
}

impl BodyFault {
    /// What the sender is told of the error that reading its body ended with, however deep the fault lies in it.
    #[must_use]
    pub fn problem(error: &(dyn Error + 'static)) -> Problem {
        let mut causes =
            std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
        match causes.find_map(|cause| cause.downcast_ref::<Self>()) {
            Some(Self::TooSlow) => Problem::new(Code::RequestTimeout, "the body came too slowly"),
            Some(Self::NoMemory) => Problem::new(
                Code::Overloaded,
                "too many requests are being read, of all or of you; try again later",
            ),
            Some(Self::Broken(error)) if is_misframed(error) => {
                Problem::new(Code::InvalidRequest, "the body is not chunked as it should be (RFC 9112 §7.1)")
            }
            _ => Problem::new(Code::InvalidJson, "the body ended before it was complete"),
        }
    }
}

/// As opposed to one that ended.
fn is_misframed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause
        .is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// A body that comes back when it is dropped before its end.
pub(super) struct WatchedBody {
    body: Option<Incoming>,
    returned: Option<oneshot::Sender<Incoming>>,
    connection: Arc<Connection>,
    held: Arc<Held>,
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What a handler may have left of a body.
pub(super) struct Unread(oneshot::Receiver<Incoming>);

impl WatchedBody {
    pub(super) fn new(body: Incoming, connection: Arc<Connection>, held: Arc<Held>) -> (Self, Unread) {
        let (sender, receiver) = oneshot::channel();
        let returned = (!body.is_end_stream()).then_some(sender);
        let limits = connection.limits();
        let patience = Patience::new(limits.body_pause.0, limits.least_rate.0);
        let body = Self { body: Some(body), returned, connection, held, patience, timer: None };
        (body, Unread(receiver))
    }

    /// Nothing came: ready when that has been so for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.patience.waits(Instant::now()).into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }

    /// Whether there is memory for a piece that came.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFault> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.patience.moved(Instant::now(), bytes);
        self.held.progress.came(bytes);
        if !self.held.grow(bytes) {
            self.connection.reached(Bound::Memory);
            return Err(BodyFault::NoMemory);
        }
        Ok(frame)
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.take(frame))),
            Poll::Ready(ended) => {
                if ended.is_none() {
                    self.held.progress.complete();
                }
                self.returned = None;
                Poll::Ready(ended.map(|error| error.map_err(BodyFault::Broken)))
            }
            Poll::Pending if self.poll_patience(cx).is_ready() => {
                self.connection.reached(Bound::Body);
                Poll::Ready(Some(Err(BodyFault::TooSlow)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if let (Some(body), Some(returned)) = (self.body.take(), self.returned.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it when the request itself was dropped.
            let _ = returned.send(body);
        }
    }
}

impl Unread {
    /// Reads on, for a while; to be run beside the connection. None if the body was read to its end.
    pub(super) fn read_on(mut self, limit: Duration) -> Option<impl Future<Output = ()> + Send + 'static> {
        let mut body = self.0.try_recv().ok()?;
        Some(async move {
            let mut read = 0;
            let reading = async {
                while let Some(Ok(frame)) = body.frame().await {
                    read += frame.data_ref().map_or(0, Bytes::len);
                    if read > ENOUGH {
                        // Held, not read: the peer is stopped by flow control until the time is over.
                        std::future::pending::<()>().await;
                    }
                }
            };
            let _ = timeout(limit, reading).await;
        })
    }
}
