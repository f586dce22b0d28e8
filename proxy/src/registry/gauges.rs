//! The size of the copy, its age and when it was made, read when the metrics are.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
};
use shared::management::encode_last_sync;

use super::Registry;

/// The metrics of one copy of the client table.
#[derive(Debug)]
pub struct RegistryGauges(pub(super) Arc<Registry>);

impl Collector for RegistryGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let clients = ConstGauge::new(i64::try_from(self.0.len()).unwrap_or(i64::MAX));
        let help = "Certificates in the copy of the client table";
        let kind = clients.metric_type();
        clients.encode(encoder.encode_descriptor("portcullis_registry_clients", help, None, kind)?)?;
        let Some(age) = self.0.age() else { return Ok(()) };
        encode_last_sync(&mut encoder, age)
    }
}
