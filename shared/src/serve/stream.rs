//! The socket under hyper, with the bounds that hyper does not keep.
//!
//! hyper's own header timer also ends idle keep-alive connections, and it has none for HTTP/2 or for a
//! peer that does not read. Here: a deadline for a head that has begun, another for idling, patience for
//! writing, and for answers that the peer opens no window for (`deadlines`). An idle HTTP/1.1 connection is put aside
//! (`park`). HTTP/2 frames are counted on their way in, and what hyper answers by itself is made a problem on its way out.
//! On drop the socket goes back to whoever lingers, or waits for the peer.

mod deadlines;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use hyper::body::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
    time::Sleep,
};
use tokio_rustls::server::TlsStream;

use super::{
    activity::Phase, connection::Connection, frames::Frames, metrics::Bound, own_answer::OwnAnswers,
    patience::Patience,
};

/// A stream that hyper let go of.
pub(super) struct Returned {
    pub(super) stream: TlsStream<TcpStream>,
    /// It was idle for long enough to be put aside, until its peer sends something.
    pub(super) parked: bool,
    /// What came of a head by then: such a connection is not idle, and only hyper knew.
    pub(super) begun: Bytes,
}

/// A TLS stream with bounds.
pub(super) struct TimedStream {
    stream: Option<TlsStream<TcpStream>>,
    returned: Option<oneshot::Sender<Returned>>,
    parked: bool,
    /// Read before, and to be read again.
    unread: Bytes,
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
    /// Wraps a stream, of which so much was read already; the receiver gets it back, unless the peer had closed it, when
    /// hyper lets go of it.
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        unread: Bytes,
        connection: Arc<Connection>,
        multiplexed: bool,
    ) -> (Self, oneshot::Receiver<Returned>) {
        let (sender, receiver) = oneshot::channel();
        let limits = connection.limits();
        let timed = Self {
            stream: Some(stream),
            returned: Some(sender),
            parked: false,
            unread,
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
        if !self.unread.is_empty() {
            let bytes = self.unread.len().min(buffer.remaining());
            let again = self.unread.split_to(bytes);
            buffer.put_slice(&again);
            return Poll::Ready(self.came(&again));
        }
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
        ready!(self.timed_write(cx, flushed, |()| 0))?;
        // hyper looked for a further request before it wrote the answer to this one, and does not look again: from here
        // on the connection may be idle
        match self.frames.is_none().then(|| self.poll_deadlines(cx)) {
            Some(Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
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
            let _ = returned.send(Returned { stream, parked: self.parked, begun: Bytes::new() });
        }
    }
}
