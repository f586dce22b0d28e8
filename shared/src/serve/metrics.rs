//! What a door counts, and what it says of bounds that were reached.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tracing::warn;

/// A line per bound and door so often at most: whoever reaches one on purpose fills no disk.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Why a connection ended before its first request, and by which alert; closed lists, for they become labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HandshakeFailure {
    pub(super) door: &'static str,
    pub(super) reason: &'static str,
    pub(super) alert: &'static str,
}

/// A handshake that is over: full, resumed, failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handshake {
    door: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DoorLabel {
    pub(super) door: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reached {
    door: &'static str,
    limit: &'static str,
}

/// Declares the bounds; a row is a word in metrics, and whether reaching it is worth a line in the log.
macro_rules! bounds {
    ($($(#[$doc:meta])* $variant:ident, $word:literal, $told:literal;)*) => {
        /// A bound that was reached.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Bound { $($(#[$doc])* $variant,)* }

        impl Bound {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            const fn is_told(self) -> bool {
                match self { $(Self::$variant => $told,)* }
            }
        }
    };
}

bounds! {
    /// Closed when accepted.
    Connections, "connections", true;
    /// Closed when accepted.
    ConnectionsPerIp, "connections_per_ip", true;
    /// Told, and closed.
    ConnectionsPerClient, "connections_per_client", true;
    /// The oldest handshake made room.
    Handshakes, "handshakes", true;
    /// A handshake waited, for too many from there had failed.
    FailedHandshakes, "failed_handshakes_per_ip", true;
    /// A chain was refused unverified.
    Chain, "chain", true;
    /// A head, or the first request, took too long.
    Head, "head", false;
    /// Nothing was asked for too long; every connection that is kept ends so.
    Idle, "idle", false;
    /// The last of its requests.
    Requests, "requests", false;
    /// The request it was told to be its last, for its age.
    Age, "age", false;
    /// The peer took no bytes, or too slowly.
    Write, "write", true;
    /// The peer sent no bytes of a body, or too slowly.
    Body, "body_rate", true;
    /// Too many header lines.
    Headers, "headers", true;
    /// Too large a head.
    HeadBytes, "head_bytes", true;
    /// Too long a target.
    TargetBytes, "target_bytes", true;
    /// No HTTP.
    Malformed, "malformed", true;
    /// Frames that ask for nothing.
    IdleFrames, "idle_frames", true;
    /// Bounds of the HTTP/2 library: resets, CONTINUATION, empty and small DATA, broken streams.
    Http2, "http2", true;
    /// No memory for a further request.
    Memory, "memory", true;
}

/// When a line about a bound was last written, and how often it was reached since.
type Told = HashMap<(&'static str, Bound), (Instant, u64)>;

/// The metrics of all doors of one process.
#[derive(Debug, Clone)]
pub struct DoorMetrics {
    connections: Family<DoorLabel, Gauge>,
    parked: Family<DoorLabel, Gauge>,
    pub(super) accepted: Family<DoorLabel, Counter>,
    pub(super) handshake_failures: Family<HandshakeFailure, Counter>,
    handshakes: Family<Handshake, Histogram, fn() -> Histogram>,
    limits: Family<Reached, Counter>,
    told: Arc<Mutex<Told>>,
}

/// Counts a connection, as open or as put aside, for as long as this is kept: a handler that panics takes it along.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for DoorMetrics {
    fn default() -> Self {
        // 250 µs to 8 s; the deadline is 10 s
        let handshake: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        Self {
            connections: Family::default(),
            parked: Family::default(),
            accepted: Family::default(),
            handshake_failures: Family::default(),
            handshakes: Family::new_with_constructor(handshake),
            limits: Family::default(),
            told: Arc::default(),
        }
    }
}

impl DoorMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let prefix = registry.sub_registry_with_prefix("portcullis");
        prefix.register("connections", "Open connections", metrics.connections.clone());
        let help = "Open connections that are idle and were put aside";
        prefix.register("connections_parked", help, metrics.parked.clone());
        prefix.register("connections_accepted", "Accepted connections", metrics.accepted.clone());
        let failures = metrics.handshake_failures.clone();
        prefix.register("handshake_failures", "TLS handshakes that failed, by reason and alert", failures);
        let handshakes = metrics.handshakes.clone();
        let help = "From an accepted socket to the end of its TLS handshake, by its kind";
        prefix.register_with_unit("handshake", help, Unit::Seconds, handshakes);
        prefix.register("limits_reached", "Bounds of connections that were reached", metrics.limits.clone());
        metrics
    }

    /// Shows every bound of a door as not reached yet: what was never counted cannot be seen to rise.
    pub(super) fn open(&self, door: &'static str) {
        for bound in Bound::ALL {
            drop(self.limits.get_or_create(&Reached { door, limit: bound.as_str() }));
        }
    }

    /// Counts a connection as open.
    pub(super) fn opened(&self, door: &'static str) -> Open {
        let gauge = self.connections.get_or_create_owned(&DoorLabel { door });
        gauge.inc();
        Open(gauge)
    }

    /// Counts a connection as put aside.
    pub(super) fn parked(&self, door: &'static str) -> Open {
        let gauge = self.parked.get_or_create_owned(&DoorLabel { door });
        gauge.inc();
        Open(gauge)
    }

    /// Notes how long a handshake took.
    pub(super) fn shaken(&self, door: &'static str, kind: &'static str, took: Duration) {
        self.handshakes.get_or_create(&Handshake { door, kind }).observe(took.as_secs_f64());
    }

    /// Counts a bound that was reached by a peer, and now and then says so.
    pub(super) fn reached(&self, door: &'static str, bound: Bound, remote: IpAddr) {
        let limit = bound.as_str();
        self.limits.get_or_create(&Reached { door, limit }).inc();
        if !bound.is_told() {
            return;
        }
        if let Some(times) = self.due(door, bound, Instant::now()) {
            warn!(door, limit, %remote, times, "a limit was reached; the line is repeated every 10 s at most");
        }
    }

    /// How often it was reached since the last line, if it is time for another.
    fn due(&self, door: &'static str, bound: Bound, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(&(door, bound)) {
            Some((last, times)) if now - *last < LINE_EVERY => {
                *times += 1;
                None
            }
            Some((last, times)) => {
                *last = now;
                Some(std::mem::take(times) + 1)
            }
            None => {
                told.insert((door, bound), (now, 0));
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_reached_all_the_time_is_told_now_and_then_and_nothing_is_lost() {
        let metrics = DoorMetrics::default();
        let now = Instant::now();
        let told: Vec<_> = (0..30)
            .filter_map(|second| metrics.due("test", Bound::Handshakes, now + Duration::from_secs(second)))
            .collect();
        assert_eq!(told, [1, 10, 10]);
        assert_eq!(metrics.due("other", Bound::Handshakes, now), Some(1));
    }

    #[test]
    fn no_two_bounds_have_one_word() {
        let words: std::collections::HashSet<_> = Bound::ALL.iter().map(|bound| bound.as_str()).collect();
        assert_eq!(words.len(), Bound::ALL.len());
    }
}
