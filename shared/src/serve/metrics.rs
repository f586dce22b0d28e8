//! What a door counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Why a connection ended before its first request; a closed list, for it becomes a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HandshakeFailure {
    pub(super) door: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DoorLabel {
    pub(super) door: &'static str,
}

/// The metrics of all doors of one process.
#[derive(Debug, Clone, Default)]
pub struct DoorMetrics {
    pub(super) connections: Family<DoorLabel, Gauge>,
    pub(super) accepted: Family<DoorLabel, Counter>,
    pub(super) handshake_failures: Family<HandshakeFailure, Counter>,
}

impl DoorMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let prefix = registry.sub_registry_with_prefix("portcullis");
        prefix.register("connections", "Open connections", metrics.connections.clone());
        prefix.register("connections_accepted", "Accepted connections", metrics.accepted.clone());
        let failures = metrics.handshake_failures.clone();
        prefix.register("handshake_failures", "TLS handshakes that failed, by reason", failures);
        metrics
    }
}
