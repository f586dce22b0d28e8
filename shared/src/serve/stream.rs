//! The socket under hyper, with the deadlines that hyper does not keep.
//!
//! hyper's own header timer also ends idle keep-alive connections, and it has none for HTTP/2 or for a
//! peer that does not read. Here: a deadline for a head that has begun, another for idling, a third for
//! writing. One timer serves all three and is re-armed only when it fires or must fire earlier, so a
//! request on a busy connection costs no timer at all. On drop the socket goes back to whoever lingers.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
    time::{Sleep, sleep_until},
};
use tokio_rustls::server::TlsStream;

use super::{Limits, activity::Phase, connection::Connection};

/// How long a connection that was asked to close may go on without a request. HTTP/2 asks the peer first, with
/// GOAWAY and PING, and a peer that never answers would keep it open.
const CLOSING: Duration = Duration::from_secs(2);
/// How long it may go on at all: longer than any answer that is due.
const CLOSING_BUSY: Duration = Duration::from_mins(1);

/// A TLS stream with deadlines.
pub(super) struct TimedStream {
    stream: Option<TlsStream<TcpStream>>,
    returned: Option<oneshot::Sender<TlsStream<TcpStream>>>,
    connection: Arc<Connection>,
    limits: Arc<Limits>,
    multiplexed: bool,
    /// The first bytes of a head came then, after so many requests (HTTP/1.1 only: in HTTP/2 bytes need not
    /// be a request).
    head: Option<(Instant, u32)>,
    blocked_since: Option<Instant>,
    closing_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    /// Wraps a stream; the receiver gets it back, unless the peer had closed it, when hyper lets go of it.
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        connection: Arc<Connection>,
        limits: Arc<Limits>,
        multiplexed: bool,
    ) -> (Self, oneshot::Receiver<TlsStream<TcpStream>>) {
        let (sender, receiver) = oneshot::channel();
        let timed = Self {
            stream: Some(stream),
            returned: Some(sender),
            connection,
            limits,
            multiplexed,
            head: None,
            blocked_since: None,
            closing_since: None,
            timer: None,
        };
        (timed, receiver)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TlsStream<TcpStream>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// When reading must have led somewhere, and whether that end is only idleness.
    fn read_deadline(&self) -> Option<(Instant, bool)> {
        let phase = self.connection.phase();
        if let Some(asked) = self.closing_since {
            let last = asked + CLOSING_BUSY;
            let Phase::Waiting { since, .. } = phase else { return Some((last, false)) };
            return Some((last.min(asked.max(since) + CLOSING), false));
        }
        let Phase::Waiting { since, requests } = phase else { return None };
        match self.head {
            Some((head, before)) if before == requests => Some((head + self.limits.head.0, false)),
            _ if requests == 0 => Some((since + self.limits.head.0, false)),
            _ => Some((since + self.limits.idle.0, true)),
        }
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.connection.is_closing() {
                self.closing_since.get_or_insert_with(Instant::now);
            }
            let read = self.read_deadline();
            let write = self.blocked_since.map(|since| (since + self.limits.write.0, false));
            let Some((deadline, idle)) = [read, write].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
            if timer.deadline() > deadline.into() {
                timer.as_mut().reset(deadline.into());
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() < deadline {
                timer.as_mut().reset(deadline.into());
            } else if idle {
                // Politely: HTTP/2 gets its GOAWAY. Should that not end it, the next deadline does.
                self.connection.close();
            } else {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
    }

    /// Keeps the time that a write has been waiting, and ends the connection when it is too long.
    fn timed_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked_since = None;
            return written;
        }
        self.blocked_since.get_or_insert_with(Instant::now);
        match self.poll_deadlines(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream()?.poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() == before && buffer.remaining() > 0 => {
                self.returned = None; // the peer closed first: nobody is left to linger for
                read
            }
            Poll::Ready(Ok(())) => {
                if !self.multiplexed
                    && let Phase::Waiting { requests, .. } = self.connection.phase()
                    && self.head.is_none_or(|(_, before)| before != requests)
                {
                    self.head = Some((Instant::now(), requests));
                }
                read
            }
            Poll::Pending => match self.poll_deadlines(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
            Poll::Ready(Err(_)) => read,
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(cx, bytes);
        self.timed_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(cx, slices);
        self.timed_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream()?.poll_flush(cx);
        self.timed_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.stream()?.poll_shutdown(cx);
        self.timed_write(cx, closed)
    }
}

impl Drop for TimedStream {
    fn drop(&mut self) {
        if let (Some(stream), Some(returned)) = (self.stream.take(), self.returned.take()) {
            // Nobody waits for it at a hard stop: then it is simply closed.
            let _ = returned.send(stream);
        }
    }
}
