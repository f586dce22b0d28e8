//! The size of the copy, its age and when it was made, read when the metrics are.

use std::{
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

/// The metrics of one copy of the client table.
#[derive(Debug)]
pub struct RegistryGauges(pub(super) Arc<Registry>);

impl Collector for RegistryGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let clients = ConstGauge::new(i64::try_from(self.0.len()).unwrap_or(i64::MAX));
        let help = "Certificates in the copy of the client table";
        let kind = clients.metric_type();
        clients.encode(encoder.encode_descriptor("portcullis_registry_clients", help, None, kind)?)?;
        let Some(age) = self.0.age() else { return Ok(()) };
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
