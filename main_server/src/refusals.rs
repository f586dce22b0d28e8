//! What the doors refuse, counted by code.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use shared::wire::Code;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    door: &'static str,
    code: &'static str,
}

/// `portcullis_refusals_total{door,code}`, of one door.
#[derive(Debug, Clone)]
pub struct RefusalMetrics {
    door: &'static str,
    refusals: Family<Refusal, Counter>,
}

impl RefusalMetrics {
    /// Registers them for these doors.
    pub fn register<const N: usize>(registry: &mut Registry, doors: [&'static str; N]) -> [Self; N] {
        let refusals = Family::<Refusal, Counter>::default();
        registry.register("portcullis_refusals", "Refused requests, by door and code", refusals.clone());
        doors.map(|door| Self { door, refusals: refusals.clone() })
    }

    /// Counts one.
    pub fn count(&self, code: Code) {
        self.refusals.get_or_create(&Refusal { door: self.door, code: code.as_str() }).inc();
    }
}
