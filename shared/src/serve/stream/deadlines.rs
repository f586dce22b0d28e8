//! When the socket under hyper must have moved, and what is done when it has not.
//!
//! In: what the connection is doing, and since when. Out: an error once it has to end, or to be put aside. One timer
//! serves all deadlines and is re-armed only when it fires or must fire earlier, so a request on a busy connection costs
//! no timer at all.

use std::{
    io,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use super::{
    super::{activity::Phase, metrics::Bound, park},
    TimedStream,
};

/// How long a connection that was asked to close may go on without a request. HTTP/2 asks the peer first, with
/// GOAWAY and PING, and a peer that never answers would keep it open.
const CLOSING: Duration = Duration::from_secs(2);
/// How long it may go on at all: longer than any answer that is due to somebody who is refused.
const CLOSING_BUSY: Duration = Duration::from_mins(1);

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

impl TimedStream {
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

    /// Ready, with an error, when the connection has to end, or to be let go of.
    pub(super) fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
}
