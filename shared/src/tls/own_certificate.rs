//! When our own certificates end: `portcullis_certificate_expires_timestamp_seconds`, by what each is used for, and a
//! check for `/readyz`.
//!
//! In: what is in force, asked when somebody wants to know. A renewed file that nobody has read yet does not count.
//! Out: metrics; a warning from a while before the end on; not ready once one has ended, for then nobody believes us.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::{Registry, Unit},
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use tracing::{error, warn};

use crate::{
    identity::{Certificate, Judged},
    management::Checked,
    shutdown::Shutdown,
};

type Ends = Arc<dyn Fn() -> i64 + Send + Sync>;

const DAY: i64 = 86_400;
/// An end that is near is no news every minute.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// The certificates that one process shows to others. Clones are of the same.
#[derive(Clone, Default)]
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
        self.0.push((what, Arc::new(ends)));
        self
    }

    /// Shows them in the metrics, and in the log from `warned` before an end on; the check for `/readyz` does the same.
    pub fn watched(
        self,
        warned: Duration,
        registry: &mut Registry,
        shutdown: &Shutdown,
    ) -> impl Fn() -> Checked + Send + Sync + 'static {
        registry.register_collector(Box::new(self.clone()));
        let watched = self.clone().watch(warned, shutdown.clone());
        shutdown.spawn("watch own certificates", watched);
        move || self.readiness(warned)
    }

    fn readiness(&self, warned: Duration) -> Checked {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.judge(i64::try_from(now).unwrap_or(i64::MAX), warned)
    }

    /// Logs when one begins to be near its end, and when it has ended, until the soft stop.
    async fn watch(self, warned: Duration, shutdown: Shutdown) {
        let mut before = false;
        loop {
            let checked = self.readiness(warned);
            match (checked.holds(), checked.warns()) {
                (false, _) => error!(certificates = checked.detail(), "a certificate of ours has expired"),
                (true, true) if !before => {
                    warn!(certificates = checked.detail(), "a certificate of ours ends soon: renew it");
                }
                _ => {}
            }
            before = checked.warns();
            tokio::select! { () = tokio::time::sleep(LOOK_EVERY) => {} () = shutdown.requested() => return }
        }
    }

    fn judge(&self, now: i64, warned: Duration) -> Checked {
        let warned = i64::try_from(warned.as_secs()).unwrap_or(i64::MAX);
        let (mut holds, mut warns) = (true, false);
        let (mut words, mut facts) = (Vec::new(), Vec::new());
        for (what, ends) in &self.0 {
            let ends = ends();
            let left = ends.saturating_sub(now);
            holds &= left > 0;
            warns |= left <= warned;
            words.push(match left {
                ..=0 => format!("{what}: expired at {}: issue it again", instant(ends)),
                _ => format!("{what}: {} days left", left / DAY),
            });
            facts.push(json!({"used_for": what, "expires_at": instant(ends), "remaining_seconds": left}));
        }
        let words = words.join("; ");
        let result = if holds { Ok(words) } else { Err(words) };
        Checked::from(result).warning(warns).with("certificates", Value::Array(facts))
    }
}

/// RFC 3339, UTC.
fn instant(seconds: i64) -> String {
    let instant = OffsetDateTime::from_unix_timestamp(seconds).ok();
    instant.and_then(|instant| instant.format(&Rfc3339).ok()).unwrap_or_default()
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
#[must_use]
pub fn ends(key: &CertifiedKey) -> i64 {
    let leaf = key.end_entity_cert().ok().and_then(|leaf| Certificate::parse(leaf).ok());
    leaf.map_or(0, |leaf| leaf.validity.not_after)
}

/// Whether now lies within the dates of a leaf; else what is to be done.
pub(super) fn check_dates(key: &CertifiedKey, now: UnixTime) -> Result<(), String> {
    let leaf = key.end_entity_cert().ok().and_then(|leaf| Certificate::parse(leaf).ok());
    let validity = leaf.ok_or("cannot be read")?.validity;
    match validity.judge(now) {
        Judged::Valid => Ok(()),
        Judged::Expired => Err(format!("expired at {}: issue it again", instant(validity.not_after))),
        Judged::NotYetValid => Err(format!("is not valid before {}", instant(validity.not_before))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARNED: Duration = Duration::from_hours(14 * 24);

    fn ending(in_days: &[i64]) -> Value {
        let now = 1_700_000_000;
        let all = in_days.iter().fold(OwnCertificates::new(), |all, days| {
            let ends = now + days * DAY;
            all.used_for("doors", move || ends)
        });
        let checked = all.judge(now, WARNED);
        let readiness =
            crate::management::Readiness::new().check_with("certificates", move || checked.clone());
        readiness.judge().1
    }

    #[test]
    fn a_certificate_that_ends_soon_warns_and_only_one_that_has_ended_is_not_ready() {
        for (days, ok, warns) in [
            (&[15, 400][..], true, false),
            (&[400, 14], true, true),
            (&[400, 1], true, true),
            (&[400, 0], false, true),
            (&[-3, 400], false, true),
        ] {
            let shown = ending(days);
            let check = &shown["checks"]["certificates"];
            let seen = (check["ok"] == true, check["warning"] == true);
            assert_eq!(seen, (ok, warns), "{days:?}: {shown}");
            let left: Vec<_> = check["certificates"].as_array().unwrap().iter().collect();
            assert_eq!(left.len(), 2);
            assert_eq!(left[0]["remaining_seconds"], days[0] * DAY);
        }
    }
}
