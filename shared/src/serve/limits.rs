//! Every bound of a connection, in one place: the table `[limits]`.

use serde::Deserialize;

use crate::{
    config::{ByteSize, Source, Span},
    tls::ChainLimits,
};

/// The bounds of a door's connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections open at once; further ones are closed as soon as they are accepted.
    pub connections: usize,
    /// Of them, from one address; of IPv6, from one /64.
    pub connections_per_ip: usize,
    /// Of them, with one certificate; further ones are told so and closed.
    pub connections_per_client: usize,
    /// Of them, in their TLS handshake; for a further one the oldest is dropped.
    pub handshakes: usize,
    /// Handshakes a second that may fail from one address before its next ones wait; 0: any number.
    pub failed_handshakes_per_ip: u32,
    /// From the accepted socket to the end of the TLS handshake.
    pub handshake: Span,
    /// What is looked at of a chain of certificates.
    pub chain: ChainLimits,
    /// From a request's first byte to the end of its head; also from the handshake to the first request.
    pub head: Span,
    /// Between requests on a kept-alive connection.
    pub idle: Span,
    /// Requests on one connection; after the last it ends as HTTP has it.
    pub requests: u32,
    /// How old a connection becomes, give or take a tenth; then it ends with its next request.
    pub age: Span,
    /// How long a peer may refuse to take bytes from us.
    pub write: Span,
    /// How long a peer that sends a body may send none of it.
    pub body_pause: Span,
    /// Bytes a second that a peer must send of a body, and take of an answer, once its pauses are used up.
    pub least_rate: ByteSize,
    /// How long a closed connection is still read, so that the peer gets to see our last answer.
    pub linger: Span,
    /// Header lines of one request.
    pub headers: usize,
    /// Bytes of one request's head.
    pub head_bytes: ByteSize,
    /// Bytes of its target, the path and the query.
    pub target_bytes: ByteSize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// HTTP/2 flow control: bytes in flight per request.
    pub stream_window: ByteSize,
    /// HTTP/2 frames a second that carry no part of a request, on one connection.
    pub idle_frames: u32,
    /// Bytes of requests that are not answered yet, of all connections; of one certificate, as many as are free.
    pub memory: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 1024,
            connections_per_client: 512,
            handshakes: 1024,
            failed_handshakes_per_ip: 0,
            handshake: Span::seconds(10),
            chain: ChainLimits::default(),
            head: Span::seconds(10),
            idle: Span::seconds(60),
            requests: 100_000,
            age: Span::seconds(3600),
            write: Span::seconds(20),
            body_pause: Span::seconds(10),
            least_rate: ByteSize(500),
            linger: Span::seconds(2),
            headers: 64,
            head_bytes: ByteSize::kib(16),
            target_bytes: ByteSize::kib(8),
            streams: 128,
            stream_window: ByteSize::kib(64),
            idle_frames: 1000,
            memory: ByteSize::kib(256 * 1024),
        }
    }
}

impl Limits {
    /// Records bounds that cannot work.
    pub fn check(&self, source: &mut Source) {
        let spans = [
            ("handshake", self.handshake),
            ("head", self.head),
            ("idle", self.idle),
            ("age", self.age),
            ("write", self.write),
            ("body_pause", self.body_pause),
        ];
        for (key, span) in spans {
            if span.0.is_zero() {
                source.fault(&format!("limits.{key}"), "must be longer than 0s");
            }
        }
        let counts = [
            ("connections", self.connections),
            ("connections_per_ip", self.connections_per_ip),
            ("connections_per_client", self.connections_per_client),
            ("handshakes", self.handshakes),
            ("requests", self.requests as usize),
            ("least_rate", self.least_rate.0),
            ("headers", self.headers),
            ("streams", self.streams as usize),
            ("idle_frames", self.idle_frames as usize),
        ];
        for (key, count) in counts {
            if count == 0 {
                source.fault(&format!("limits.{key}"), "must be at least 1");
            }
        }
        let sizes = [
            ("head_bytes", self.head_bytes, 8 << 10..=1 << 20, "8KiB and 1MiB"),
            ("target_bytes", self.target_bytes, 256..=60 << 10, "256B and 60KiB"),
            ("stream_window", self.stream_window, 16 << 10..=16 << 20, "16KiB and 16MiB"),
            ("memory", self.memory, 1 << 20..=1 << 40, "1MiB and 1024GiB"),
        ];
        for (key, size, allowed, text) in sizes {
            if !allowed.contains(&size.0) {
                source.fault(&format!("limits.{key}"), format!("must lie between {text}"));
            }
        }
        self.chain.check(source);
    }
}
