//! What the doors refuse: counted by code, and noted for the audit log.

mod audit;

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use shared::{identity::Certificate, wire::Code};

pub use audit::RefusalAudit;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    door: &'static str,
    code: &'static str,
}

/// The refusals of one door: `portcullis_refusals_total{door,code}`, and what goes into `audit_log`.
#[derive(Debug, Clone)]
pub struct DoorRefusals {
    door: &'static str,
    refusals: Family<Refusal, Counter>,
    audit: Arc<RefusalAudit>,
}

impl DoorRefusals {
    /// Registers them for these doors.
    pub fn register<const N: usize>(
        registry: &mut Registry,
        doors: [&'static str; N],
        audit: &Arc<RefusalAudit>,
    ) -> [Self; N] {
        let refusals = Family::<Refusal, Counter>::default();
        registry.register("portcullis_refusals", "Refused requests, by door and code", refusals.clone());
        doors.map(|door| Self { door, refusals: refusals.clone(), audit: audit.clone() })
    }

    /// Counts a request that was answered with a problem.
    pub fn count(&self, code: Code) {
        self.refusals.get_or_create(&Refusal { door: self.door, code: code.as_str() }).inc();
    }

    /// Notes, for the audit log, that the holder of a certificate was refused.
    pub fn note(&self, certificate: &Certificate, code: Code) {
        self.audit.note(self.door, certificate, code);
    }
}
