//! The pool's connections as a gauge, read when somebody scrapes.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{family::Family, gauge::Gauge},
};
use sqlx::PgPool;

/// `portcullis_database_connections{state="open|idle"}`.
#[derive(Debug)]
pub struct PoolMetrics(PgPool);

impl PoolMetrics {
    /// Watches a pool.
    #[must_use]
    pub fn of(pool: PgPool) -> Self {
        Self(pool)
    }
}

impl Collector for PoolMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let connections = Family::<[(&str, &str); 1], Gauge>::default();
        connections.get_or_create(&[("state", "open")]).set(self.0.size().into());
        let idle = i64::try_from(self.0.num_idle()).unwrap_or(i64::MAX);
        connections.get_or_create(&[("state", "idle")]).set(idle);
        let encoder = encoder.encode_descriptor(
            "portcullis_database_connections",
            "Connections to Postgres",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        connections.encode(encoder)
    }
}
