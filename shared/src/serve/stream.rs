//! The socket under hyper, with the bounds that hyper does not keep.
//!
//! hyper's own header timer also ends idle keep-alive connections, and it has none for HTTP/2 or for a
//! peer that does not read. Here: a deadline for a head that has begun, another for idling, patience for
//! writing, and for answers that the peer opens no window for. One timer serves all of them and is re-armed only when it fires or must fire earlier, so a
//! request on a busy connection costs no timer at all. An idle HTTP/1.1 connection is put aside (`park`). HTTP/2 frames are counted on their way in, and what hyper
//! answers by itself is made a problem on its way out. On drop the socket goes back to whoever lingers.

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

use super::{
    activity::Phase, connection::Connection, frames::Frames, metrics::Bound, own_answer::OwnAnswers, park,
    patience::Patience,
};

/// How long a connection that was asked to close may go on without a request. HTTP/2 asks the peer first, with
/// GOAWAY and PING, and a peer that never answers would keep it open.
const CLOSING: Duration = Duration::from_secs(2);
/// How long it may go on at all: longer than any answer that is due to somebody who is refused.
const CLOSING_BUSY: Duration = Duration::from_mins(1);

/// A stream that hyper let go of.
pub(super) struct Returned {
    pub(super) stream: TlsStream<TcpStream>,
    /// It is only put aside, until its peer sends something.
    pub(super) parked: bool,
}

/// What is to be done when a deadline is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// A bound was reached.
    Bound(Bound),
    /// It was closing, and should be over.
    Closing,
    /// It has been idle for long enough to be put aside.
    Park,
}

/// A TLS stream with bounds.
pub(super) struct TimedStream {
    stream: Option<TlsStream<TcpStream>>,
    returned: Option<oneshot::Sender<Returned>>,
    parked: bool,
    /// Put aside before, it is for a while not put aside again.
    begun: Instant,
    connection: Arc<Connection>,
    /// HTTP/2 only.
    frames: Option<Frames>,
    /// The first bytes of a head came then, after so many requests (HTTP/1.1 only: in HTTP/2 bytes need not
    /// be a request).
    head: Option<(Instant, u32)>,
    writing: Patience,
    closing_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    own_answers: OwnAnswers,
}

impl TimedStream {
    /// Wraps a stream; the receiver gets it back, unless the peer had closed it, when hyper lets go of it.
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        connection: Arc<Connection>,
        multiplexed: bool,
    ) -> (Self, oneshot::Receiver<Returned>) {
        let (sender, receiver) = oneshot::channel();
        let limits = connection.limits();
        let timed = Self {
            stream: Some(stream),
            returned: Some(sender),
            parked: false,
            begun: Instant::now(),
            frames: multiplexed.then(|| Frames::new(limits.idle_frames)),
            head: None,
            writing: Patience::new(limits.write.0, limits.least_rate.0),
            closing_since: None,
            timer: None,
            own_answers: OwnAnswers::default(),
            connection,
        };
        (timed, receiver)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TlsStream<TcpStream>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// When reading must have led somewhere, and what is to be done then.
    fn read_deadline(&self) -> Option<(Instant, Due)> {
        let (phase, limits) = (self.connection.phase(), self.connection.limits());
        if let Some(asked) = self.closing_since {
            let Phase::Waiting { since, .. } = phase else {
                return (!self.connection.is_retired()).then_some((asked + CLOSING_BUSY, Due::Closing));
            };
            return Some((asked.max(since) + CLOSING, Due::Closing));
        }
        let Phase::Waiting { since, requests } = phase else { return None };
        Some(match self.head {
            Some((head, before)) if before == requests => (head + limits.head.0, Due::Bound(Bound::Head)),
            _ if requests == 0 => (since + limits.head.0, Due::Bound(Bound::Head)),
            _ => {
                let (park, idle) = (since.max(self.begun) + park::AFTER, since + limits.idle.0);
                if park < idle && self.may_be_parked() {
                    (park, Due::Park)
                } else {
                    (idle, Due::Bound(Bound::Idle))
                }
            }
        })
    }

    /// Whether nothing would be lost with hyper's buffers. In HTTP/2 its state is more than buffers.
    fn may_be_parked(&self) -> bool {
        let unsent = || self.stream.as_ref().is_none_or(|stream| stream.get_ref().1.wants_write());
        self.frames.is_none() && self.writing.deadline().is_none() && !unsent()
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.connection.is_closing() {
                self.closing_since.get_or_insert_with(Instant::now);
            }
            let untaken = [self.writing.deadline(), self.connection.untaken_at()].into_iter().flatten();
            let write = untaken.min().map(|deadline| (deadline, Due::Bound(Bound::Write)));
            let earliest = [self.read_deadline(), write].into_iter().flatten().min_by_key(|(at, _)| *at);
            let Some((deadline, due)) = earliest else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
            if timer.deadline() > deadline.into() {
                timer.as_mut().reset(deadline.into());
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() < deadline {
                timer.as_mut().reset(deadline.into());
                continue;
            }
            match due {
                Due::Bound(Bound::Idle) => self.connection.reached(Bound::Idle),
                Due::Bound(bound) => {
                    self.connection.reached(bound);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Due::Closing => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Due::Park => {
                    // the error makes hyper let go of the stream
                    self.parked = true;
                    return Poll::Ready(Err(io::Error::other("idle: put aside")));
                }
            }
            // Politely: HTTP/2 gets its GOAWAY. Should that not end it, the next deadline does.
            self.connection.close();
        }
    }

    /// Keeps the time that a write has been waiting, and ends the connection when it is too long.
    fn timed_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = &written {
            let bytes = done.as_ref().map_or(0, bytes);
            self.writing.moved(Instant::now(), bytes);
            if let Some(frames) = &mut self.frames {
                frames.wrote(bytes);
            }
            return written;
        }
        self.writing.waits(Instant::now());
        match self.poll_deadlines(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }

    /// What came in: counted, and for HTTP/1.1 the begin of a head noted.
    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        if let Some(frames) = &mut self.frames {
            if frames.came(bytes, now) {
                return Ok(());
            }
            self.connection.reached(Bound::IdleFrames);
            return Err(io::Error::other(
                "more HTTP/2 frames that ask for nothing than limits.idle_frames allows",
            ));
        }
        if let Phase::Waiting { requests, .. } = self.connection.phase()
            && self.head.is_none_or(|(_, before)| before != requests)
        {
            self.head = Some((now, requests));
        }
        Ok(())
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match self.stream()?.poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                let came = &buffer.filled()[before..];
                if came.is_empty() && buffer.remaining() > 0 {
                    self.returned = None; // the peer closed first: nobody is left to linger for
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(self.came(came))
            }
            Poll::Pending => match self.poll_deadlines(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let stream = this.stream.as_mut().map(Pin::new).ok_or(io::ErrorKind::NotConnected)?;
        let written = match this.frames {
            None => this.own_answers.poll_write(stream, cx, bytes, &this.connection),
            Some(_) => stream.poll_write(cx, bytes),
        };
        self.timed_write(cx, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An answer of hyper's own is a head alone.
        if let ([slice], None) = (slices, &self.frames) {
            return self.poll_write(cx, slice);
        }
        let written = self.stream()?.poll_write_vectored(cx, slices);
        self.timed_write(cx, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream()?.poll_flush(cx);
        self.timed_write(cx, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper says goodbye to what it believes to be broken, and its peer is to notice nothing
        if self.parked {
            return Poll::Ready(Ok(()));
        }
        let closed = self.stream()?.poll_shutdown(cx);
        self.timed_write(cx, closed, |()| 0)
    }
}

impl Drop for TimedStream {
    fn drop(&mut self) {
        if let (Some(stream), Some(returned)) = (self.stream.take(), self.returned.take()) {
            // Nobody waits for it at a hard stop: then it is simply closed.
            let _ = returned.send(Returned { stream, parked: self.parked });
        }
    }
}
