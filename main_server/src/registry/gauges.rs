//! The size of the snapshot, its age and when it was made, read when the metrics are. The names are those that proxies
//! have for their copy of the client table.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
};
use shared::management::encode_last_sync;

use super::Registry;

/// The metrics of the snapshot of the services.
#[derive(Debug)]
pub(super) struct RegistryGauges(pub(super) Arc<Registry>);

impl Collector for RegistryGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (services, age) = {
            let snapshot = self.0.snapshot.load();
            (snapshot.services.len(), snapshot.read_at.elapsed())
        };
        let services = ConstGauge::new(i64::try_from(services).unwrap_or(i64::MAX));
        let (name, help) = ("portcullis_registry_services", "Certificates in the snapshot of the services");
        services.encode(encoder.encode_descriptor(name, help, None, services.metric_type())?)?;
        encode_last_sync(&mut encoder, age)
    }
}
