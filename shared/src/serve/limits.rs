//! Every bound of a connection, in one place: the table `[limits]`.

use serde::Deserialize;

use crate::config::{ByteSize, Source, Span};

/// The bounds of a door's connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections open at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// From the accepted socket to the end of the TLS handshake.
    pub handshake: Span,
    /// From a request's first byte to the end of its head; also from the handshake to the first request.
    pub head: Span,
    /// Between requests on a kept-alive connection.
    pub idle: Span,
    /// How long a peer may refuse to take bytes from us.
    pub write: Span,
    /// How long a closed connection is still read, so that the peer gets to see our last answer.
    pub linger: Span,
    /// Header lines of one request.
    pub headers: usize,
    /// Bytes of one request's head.
    pub head_bytes: ByteSize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// HTTP/2 flow control: bytes in flight per request.
    pub stream_window: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshake: Span::seconds(10),
            head: Span::seconds(10),
            idle: Span::seconds(60),
            write: Span::seconds(20),
            linger: Span::seconds(2),
            headers: 64,
            head_bytes: ByteSize::kib(16),
            streams: 128,
            stream_window: ByteSize::kib(64),
        }
    }
}

impl Limits {
    /// Records bounds that cannot work.
    pub fn check(&self, source: &mut Source) {
        let spans =
            [("handshake", self.handshake), ("head", self.head), ("idle", self.idle), ("write", self.write)];
        for (key, span) in spans {
            if span.0.is_zero() {
                source.fault(&format!("limits.{key}"), "must be longer than 0s");
            }
        }
        if self.connections == 0 || self.streams == 0 || self.headers == 0 {
            source.fault("limits", "connections, streams and headers must be at least 1");
        }
        if !(8 * 1024..=1024 * 1024).contains(&self.head_bytes.0) {
            source.fault("limits.head_bytes", "must lie between 8KiB and 1MiB");
        }
        if !(16 * 1024..=16 * 1024 * 1024).contains(&self.stream_window.0) {
            source.fault("limits.stream_window", "must lie between 16KiB and 16MiB");
        }
    }
}
