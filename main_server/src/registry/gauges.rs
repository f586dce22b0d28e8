//! The size of the snapshot, its age and when it was made, read when the metrics are. The names are those that proxies
//! have for their copy of the client table.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Unit,
};

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
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last_sync = ConstGauge::new(since_epoch.saturating_sub(age).as_secs_f64());
        let (name, help) =
            ("portcullis_registry_last_sync_timestamp", "When the last successful sync began, Unix seconds");
        let kind = last_sync.metric_type();
        last_sync.encode(encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?)?;
        let age = ConstGauge::new(age.as_secs_f64());
        let (name, help) = ("portcullis_registry_age", "Time since the last successful sync began");
        age.encode(encoder.encode_descriptor(name, help, Some(&Unit::Seconds), age.metric_type())?)
    }
}
