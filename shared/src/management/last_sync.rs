//! How old a copy of a table is, as every process that keeps one shows it.
//!
//! In: the time since its last successful sync began. Out: two gauges, the age and the moment.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Unit,
};

/// Writes `portcullis_registry_last_sync_timestamp_seconds` and `portcullis_registry_age_seconds`.
pub fn encode_last_sync(encoder: &mut DescriptorEncoder<'_>, age: Duration) -> fmt::Result {
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
