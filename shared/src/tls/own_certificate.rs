//! When our own certificates end: `portcullis_certificate_expires_timestamp_seconds`, by what each is used for.
//!
//! In: what is in force, asked when the metrics are read. A renewed file that nobody has read yet does not count.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Unit,
};
use rustls::sign::CertifiedKey;

use crate::identity::Certificate;

type Ends = Box<dyn Fn() -> i64 + Send + Sync>;

/// The certificates that one process shows to others.
#[derive(Default)]
pub struct OwnCertificates(Vec<(&'static str, Ends)>);

impl OwnCertificates {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one: what it is used for, a closed list, and when the one in force ends, in Unix seconds.
    #[must_use]
    pub fn used_for(mut self, what: &'static str, ends: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.0.push((what, Box::new(ends)));
        self
    }
}

impl fmt::Debug for OwnCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(what, ends)| (what, ends()))).finish()
    }
}

impl Collector for OwnCertificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) =
            ("portcullis_certificate_expires_timestamp", "When our own certificate in force ends");
        let kind = ConstGauge::new(0i64).metric_type();
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        for (what, ends) in &self.0 {
            ConstGauge::new(ends()).encode(family.encode_family(&[("used_for", *what)])?)?;
        }
        Ok(())
    }
}

/// When a leaf ends, in Unix seconds; 0 for one that cannot be read, which no other part of us would use either.
pub(super) fn ends(key: &CertifiedKey) -> i64 {
    let leaf = key.end_entity_cert().ok().and_then(|leaf| Certificate::parse(leaf).ok());
    leaf.map_or(0, |leaf| leaf.validity.not_after)
}
