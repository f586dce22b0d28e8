//! How soon registrations end, as metrics: a histogram, and a count per band of the certificate guide.
//!
//! A million rows are looked at once a minute, a few shards at a time; a scrape reads what was counted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use shared::shutdown::Shutdown;

use super::{Registry, Status};

const EVERY: Duration = Duration::from_mins(1);
const DAY: i64 = 86_400;
/// The bands of the guide, in days left: at most so many, and more than the band before.
const BANDS: [i64; 5] = [0, 7, 14, 30, 60];
/// Upper bounds of the histogram, in days.
const BUCKETS: [i64; 8] = [0, 7, 14, 30, 60, 90, 180, 365];

/// The last count.
#[derive(Debug, Default)]
pub struct ExpiryMetrics(Mutex<Counted>);

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counted {
    bands: [i64; BANDS.len()],
    buckets: [u64; BUCKETS.len()],
    /// Those with more than a year.
    longer: u64,
    seconds: i64,
}

impl ExpiryMetrics {
    /// Counts until the soft stop, from the first sync on.
    pub async fn run(self: Arc<Self>, registry: Arc<Registry>, shutdown: Shutdown) {
        let mut applied = registry.applied();
        tokio::select! {
            _ = applied.wait_for(Option::is_some) => {}
            () = shutdown.requested() => return,
        }
        while !shutdown.is_requested() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let mut counted = Counted::default();
            let now = i64::try_from(now).unwrap_or(i64::MAX);
            registry.rows.for_each(|status, ends| counted.add(status, ends.saturating_sub(now))).await;
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counted;
            tokio::select! { () = tokio::time::sleep(EVERY) => {} () = shutdown.requested() => return }
        }
    }

    /// For a registry of metrics.
    #[must_use]
    pub fn collector(self: Arc<Self>) -> impl Collector {
        Exported(self)
    }
}

impl Counted {
    /// Who is revoked or suspended is not waited for; who has expired stays in the last band.
    fn add(&mut self, status: Status, left: i64) {
        let left = match status {
            Status::Active => left,
            Status::Expired => left.min(0),
            Status::Suspended | Status::Revoked { .. } => return,
        };
        if let Some(band) = BANDS.iter().position(|days| left <= days * DAY) {
            self.bands[band] += 1;
        }
        match BUCKETS.iter().position(|days| left <= days * DAY) {
            Some(bucket) => self.buckets[bucket] += 1,
            None => self.longer += 1,
        }
        self.seconds = self.seconds.saturating_add(left);
    }
}

#[derive(Debug)]
struct Exported(Arc<ExpiryMetrics>);

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counted = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (name, help) =
            ("portcullis_registry_expiring", "Active registrations by the days they have left");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (days, count) in BANDS.iter().zip(counted.bands) {
            ConstGauge::new(count).encode(family.encode_family(&[("band_days", days.to_string())])?)?;
        }
        let mut buckets: Vec<_> =
            BUCKETS.iter().zip(counted.buckets).map(|(days, count)| (seconds(days * DAY), count)).collect();
        buckets.push((f64::INFINITY, counted.longer));
        let all = buckets.iter().map(|(_, count)| count).sum();
        let (name, help) = ("portcullis_registry_remaining_life", "Time that active registrations have left");
        encoder
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(seconds(counted.seconds), all, &buckets, None)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric of days needs no more than 52 bits")]
fn seconds(whole: i64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_registration_is_in_the_band_of_the_days_it_has_left() {
        let mut counted = Counted::default();
        for (days, status) in [
            (-1, Status::Active),
            (3, Status::Active),
            (7, Status::Active),
            (20, Status::Active),
            (59, Status::Active),
            (400, Status::Active),
            (400, Status::Expired),
            (3, Status::Suspended),
        ] {
            counted.add(status, days * DAY);
        }
        assert_eq!(counted.bands, [2, 2, 0, 1, 1]);
        assert_eq!((counted.buckets, counted.longer), ([2, 2, 0, 1, 1, 0, 0, 0], 1));
    }

    #[test]
    fn the_last_bucket_holds_all_that_is_longer() {
        let mut counted = Counted::default();
        counted.add(Status::Active, 400 * DAY);
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Exported(Arc::new(ExpiryMetrics(Mutex::new(counted))))));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("portcullis_registry_remaining_life_seconds_bucket{le=\"+Inf\"} 1\n"),
            "{text}"
        );
    }
}
