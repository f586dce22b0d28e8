//! How revocation lists are shown: metrics, and the words of logs and `/readyz`.
//!
//! Labels are bounded: by the CAs that are known here, and by closed lists.

use std::{collections::HashSet, fmt};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::{prelude::FromDer, x509::X509Name};

use super::{
    CrlConfig, Crls,
    place::{Place, State, seconds},
};

/// A CA, by its name and the beginning of its key identifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct IssuerLabel {
    pub(super) issuer: String,
    pub(super) key: String,
}

/// Why a list was refused, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FailureLabel {
    pub(super) source: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct CrlMetrics {
    entries: Family<IssuerLabel, Gauge>,
    this_update: Family<IssuerLabel, Gauge>,
    next_update: Family<IssuerLabel, Gauge>,
    missing: Family<IssuerLabel, Gauge>,
    good_until: Family<IssuerLabel, Gauge>,
    pub(super) loads: Family<IssuerLabel, Counter>,
    pub(super) failures: Family<FailureLabel, Counter>,
}

impl CrlMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let ours = registry.sub_registry_with_prefix("portcullis_crl");
        let (entries, next_update) = (metrics.entries.clone(), metrics.next_update.clone());
        ours.register("entries", "Revoked certificates on the list in force", entries);
        let help = "When the list in force was signed, Unix seconds: its age is the time since";
        ours.register("this_update_timestamp_seconds", help, metrics.this_update.clone());
        let help = "When the next list is due, Unix seconds";
        ours.register("next_update_timestamp_seconds", help, next_update);
        let help = "1 for a CA that has no list in any source";
        ours.register("missing", help, metrics.missing.clone());
        let help = "From when the CA's certificates are refused unless a newer list comes, Unix seconds; absent: never";
        ours.register("good_until_timestamp_seconds", help, metrics.good_until.clone());
        ours.register("loads", "Lists that came into force", metrics.loads.clone());
        let help = "Lists that were refused, by source and reason; the last good one stays in force";
        ours.register("failures", help, metrics.failures.clone());
        metrics
    }

    /// Shows the lists as they are now.
    pub(super) fn show(&self, crls: &Crls) {
        for place in crls.places() {
            let label = place.label();
            if let State::InForce(list) = &place.state {
                let entries = i64::try_from(list.entries.len()).unwrap_or(i64::MAX);
                self.entries.get_or_create(&label).set(entries);
                self.this_update.get_or_create(&label).set(list.this_update);
                self.next_update.get_or_create(&label).set(list.next_update);
            }
            let is_missing = matches!(place.state, State::Missing);
            self.missing.get_or_create(&label).set(is_missing.into());
            match crls.good_until(place) {
                i64::MIN | i64::MAX => drop(self.good_until.remove(&label)),
                end => drop(self.good_until.get_or_create(&label).set(end)),
            }
        }
    }

    fn gauges(&self) -> [&Family<IssuerLabel, Gauge>; 5] {
        [&self.entries, &self.this_update, &self.next_update, &self.missing, &self.good_until]
    }

    /// Shows nothing any more of CAs that are no longer known.
    pub(super) fn forget(&self, before: &Crls, now: &Crls) {
        let known: HashSet<_> = now.places().map(Place::label).collect();
        for label in before.places().map(Place::label).filter(|label| !known.contains(label)) {
            for family in self.gauges() {
                family.remove(&label);
            }
        }
    }
}

/// A name as people read it.
pub(super) fn readable(name: &[u8]) -> String {
    X509Name::from_der(name)
        .map_or_else(|_| "a name that does not parse".to_owned(), |(_, name)| name.to_string())
}

/// RFC 3339, UTC.
pub(super) fn instant(seconds: i64) -> String {
    let instant = OffsetDateTime::from_unix_timestamp(seconds).ok();
    instant.and_then(|instant| instant.format(&Rfc3339).ok()).unwrap_or_default()
}

impl Place {
    /// The CA as a label.
    pub(super) fn label(&self) -> IssuerLabel {
        let key = self.authority.key_id.as_deref().unwrap_or_default();
        let key = match key.first_chunk() {
            Some(first) => format!("{:08X}", u32::from_be_bytes(*first)),
            None => String::new(),
        };
        IssuerLabel { issuer: readable(&self.authority.subject), key }
    }

    /// The CA as people read it.
    pub(super) fn name(&self) -> String {
        let IssuerLabel { issuer, key } = self.label();
        format!("{issuer} ({key})")
    }
}

/// A CA and its list, for programs; `docs/openapi/management.json` names the members.
pub(super) fn facts(crls: &Crls, place: &Place, config: &CrlConfig, now: UnixTime) -> Value {
    let IssuerLabel { issuer, key } = place.label();
    let state = match &place.state {
        State::Unread => "unread",
        State::Unusable => "unusable",
        State::Missing => "missing",
        State::InForce(_) => "in_force",
    };
    let policy = match &place.state {
        State::InForce(_) => config.policy.word(),
        _ => config.missing.word(),
    };
    let refused = crls.refuses(place, now);
    let mut facts =
        json!({"issuer": issuer, "key": key, "state": state, "policy": policy, "refused": refused});
    let end = crls.good_until(place);
    if !matches!(end, i64::MIN | i64::MAX) {
        facts["good_until"] = instant(end).into();
    }
    if let State::InForce(list) = &place.state {
        facts["number"] = list.number.to_string().into();
        facts["entries"] = list.entries.len().into();
        facts["this_update"] = instant(list.this_update).into();
        facts["age_seconds"] = seconds(now).saturating_sub(list.this_update).into();
        facts["next_update"] = instant(list.next_update).into();
    }
    facts
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name())?;
        match &self.state {
            State::Unread => f.write_str("not read yet"),
            State::Unusable => f.write_str("no list that can be used"),
            State::Missing => f.write_str("no list"),
            State::InForce(list) => {
                let (number, entries) = (list.number, list.entries.len());
                write!(f, "number {number}, {entries} entries, next update {}", instant(list.next_update))
            }
        }
    }
}
