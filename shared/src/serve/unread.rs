//! A request's body that is answered before its end, over HTTP/2.
//!
//! Letting go of it sends `RST_STREAM`, and clients in the field (curl 7.88 among them) then throw the whole
//! answer away, although it was complete. So whatever the handler left is taken back and read on for a
//! while, like the socket of an HTTP/1.1 connection is (see `linger`).

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::{sync::oneshot, time::timeout};

/// Bytes read on after an answer; flow control keeps the peer from sending many more.
const ENOUGH: usize = 64 * 1024;

/// A body that comes back when it is dropped before its end.
pub(super) struct WatchedBody {
    body: Option<Incoming>,
    returned: Option<oneshot::Sender<Incoming>>,
}

/// What a handler may have left of a body.
pub(super) struct Unread(oneshot::Receiver<Incoming>);

impl WatchedBody {
    pub(super) fn new(body: Incoming) -> (Self, Unread) {
        let (sender, receiver) = oneshot::channel();
        let returned = (!body.is_end_stream()).then_some(sender);
        (Self { body: Some(body), returned }, Unread(receiver))
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.returned = None;
        }
        frame
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
