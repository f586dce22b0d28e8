//! Refused services, on their way into `audit_log`.
//!
//! In: a certificate and why it was refused, noted in passing: a request waits for the lock of a small table and
//! for nothing else. Out: rows, written every second; for a certificate that is refused again and again one a
//! minute for each reason. Bounded: what does not fit is counted and forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use shared::{
    identity::{Certificate, Fingerprint, Workload},
    shutdown::Shutdown,
    wire::Code,
};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

const EVERY: Duration = Duration::from_secs(1);
/// A certificate that is refused again and again for one reason is audited so often.
const ONCE_IN: Duration = Duration::from_mins(1);
/// Certificates, each with a reason, at a time. Only those of the services CA get so far.
const CERTIFICATES: usize = 4096;

/// What is to be written, and what was written lately.
#[derive(Debug)]
pub struct RefusalAudit {
    held: Mutex<HashMap<Key, Held>>,
    forgotten: Counter,
}

/// Who is refused, and why: reasons that take turns have a minute each.
type Key = (Fingerprint, Code);

/// What is known of one certificate that is refused for one reason.
#[derive(Debug)]
struct Held {
    service: Option<String>,
    door: &'static str,
    at: OffsetDateTime,
    /// Refusals since the last row.
    refusals: u64,
    /// When the last row was taken to be written.
    audited: Option<Instant>,
}

/// One list per column, all of one length.
#[derive(Debug, Default)]
struct Rows {
    keys: Vec<Key>,
    services: Vec<Option<String>>,
    doors: Vec<String>,
    at: Vec<OffsetDateTime>,
    refusals: Vec<i64>,
}

impl RefusalAudit {
    /// Nothing noted yet.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let forgotten = Counter::default();
        let help = "Refusals that the audit log will not show: too many certificates at once";
        registry.register("portcullis_audit_forgotten", help, forgotten.clone());
        Arc::new(Self { held: Mutex::default(), forgotten })
    }

    /// Notes one.
    pub(super) fn note(&self, door: &'static str, certificate: &Certificate, code: Code) {
        let at = OffsetDateTime::now_utc();
        let mut held = self.held();
        let key = (certificate.fingerprint, code);
        if let Some(held) = held.get_mut(&key) {
            (held.door, held.at) = (door, at);
            held.refusals = held.refusals.saturating_add(1);
        } else if held.len() < CERTIFICATES {
            let service = service_of(certificate);
            held.insert(key, Held { service, door, at, refusals: 1, audited: None });
        } else {
            self.forgotten.inc();
        }
    }

    /// Writes until the soft stop, and once more then.
    pub async fn write(self: Arc<Self>, pool: PgPool, deadline: Duration, shutdown: Shutdown) {
        let mut failing = false;
        loop {
            let stopping = tokio::select! {
                () = sleep(EVERY) => false,
                () = shutdown.requested() => true,
            };
            let rows = self.due(Instant::now());
            let outcome = timeout(deadline, insert(&pool, &rows)).await;
            match outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(()) if std::mem::take(&mut failing) => info!("refused services are audited again"),
                Ok(()) => {}
                Err(error) => {
                    self.put_back(&rows);
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "cannot audit refused services; they are kept");
                    }
                }
            }
            if stopping {
                return;
            }
        }
    }

    /// Takes out what is to be written now; forgets what was written a while ago.
    fn due(&self, now: Instant) -> Rows {
        let mut rows = Rows::default();
        self.held().retain(|key, held| {
            let lately = held.audited.is_some_and(|at| now.saturating_duration_since(at) < ONCE_IN);
            if held.refusals == 0 {
                return lately;
            }
            if !lately {
                rows.add(*key, held);
                (held.refusals, held.audited) = (0, Some(now));
            }
            true
        });
        rows
    }

    /// What could not be written is due again.
    fn put_back(&self, rows: &Rows) {
        let mut held = self.held();
        for (key, refusals) in rows.keys.iter().zip(&rows.refusals) {
            if let Some(held) = held.get_mut(key) {
                held.refusals = held.refusals.saturating_add(refusals.unsigned_abs());
                held.audited = None;
            }
        }
    }

    /// A panic while the lock was held left at worst one refusal uncounted.
    fn held(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn add(&mut self, key: Key, held: &Held) {
        self.keys.push(key);
        self.services.push(held.service.clone());
        self.doors.push(held.door.to_owned());
        self.at.push(held.at);
        self.refusals.push(i64::try_from(held.refusals).unwrap_or(i64::MAX));
    }
}

/// `ROLE/NAME`, as its certificate says.
fn service_of(certificate: &Certificate) -> Option<String> {
    match &certificate.spiffe.as_ref()?.workload {
        Workload::Service(role, name) => Some(format!("{role}/{name}")),
        Workload::Client(_) => None,
    }
}

async fn insert(pool: &PgPool, rows: &Rows) -> Result<(), sqlx::Error> {
    if rows.keys.is_empty() {
        return Ok(());
    }
    let fingerprints: Vec<String> =
        rows.keys.iter().map(|(fingerprint, _)| fingerprint.to_string()).collect();
    let codes: Vec<String> = rows.keys.iter().map(|(_, code)| code.as_str().to_owned()).collect();
    sqlx::query!(
        "-- refusals.audit
        INSERT INTO audit_log (what, client_id, cert_fingerprint, new)
        SELECT 'refused ' || code, service, fingerprint,
               jsonb_build_object('door', door, 'refused_at', refused_at, 'refusals', refusals)
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])
             AS refused (fingerprint, service, door, code, refused_at, refusals)",
        &fingerprints,
        &rows.services as &[Option<String>],
        &rows.doors,
        &codes,
        &rows.at,
        &rows.refusals,
    )
    .execute(pool)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::certificate;

    fn audit() -> Arc<RefusalAudit> {
        RefusalAudit::register(&mut Registry::default())
    }

    fn certificate_of(number: usize) -> Certificate {
        let fingerprint = Fingerprint::of_der(&number.to_be_bytes());
        Certificate { fingerprint, ..certificate(Some("spiffe://portcullis.internal/worker/w1")) }
    }

    #[test]
    fn a_service_is_audited_once_a_minute_and_when_its_reason_changes() {
        let (audit, start) = (audit(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let refuse = |code| audit.note("worker door", &certificate_of(1), code);
        let due = |seconds| {
            let rows = audit.due(at(seconds));
            rows.keys.into_iter().map(|(_, code)| code).zip(rows.refusals).collect::<Vec<_>>()
        };
        let row = |code, refusals| vec![(code, refusals)];
        let (unknown, revoked) = (Code::CertificateUnknown, Code::CertificateRevoked);
        for (second, codes, expected) in [
            (0, &[unknown, unknown][..], row(unknown, 2)),
            (1, &[unknown], vec![]),
            (59, &[unknown], vec![]),
            (60, &[unknown], row(unknown, 3)),
            (61, &[revoked], row(revoked, 1)),
            (62, &[revoked], vec![]),
            (121, &[], row(revoked, 1)),
            (200, &[], vec![]),
        ] {
            for code in codes {
                refuse(*code);
            }
            assert_eq!(due(second), expected, "second {second}");
        }
        assert!(audit.held().is_empty(), "what was written a while ago is forgotten");
    }

    #[test]
    fn reasons_that_take_turns_are_audited_once_a_minute_each() {
        let (audit, start) = (audit(), Instant::now());
        let mut rows = 0;
        for second in 0..59 {
            let code = if second % 2 == 0 { Code::RoleNotAdmitted } else { Code::CertificateUnknown };
            audit.note("worker door", &certificate_of(1), code);
            rows += audit.due(start + Duration::from_secs(second)).keys.len();
        }
        assert_eq!(rows, 2);
    }

    #[test]
    fn what_could_not_be_written_is_due_again() {
        let (audit, now) = (audit(), Instant::now());
        audit.note("worker door", &certificate_of(1), Code::CertificateUnknown);
        let rows = audit.due(now);
        audit.note("worker door", &certificate_of(1), Code::CertificateUnknown);
        audit.put_back(&rows);
        let rows = audit.due(now);
        assert_eq!((rows.refusals, rows.services), (vec![2], vec![Some("worker/w1".to_owned())]));
    }

    #[test]
    fn it_is_bounded_and_says_what_it_forgot() {
        let audit = audit();
        for number in 0..CERTIFICATES + 10 {
            audit.note("worker door", &certificate_of(number), Code::CertificateUnknown);
        }
        assert_eq!(audit.due(Instant::now()).keys.len(), CERTIFICATES);
        assert_eq!(audit.forgotten.get(), 10);
    }
}
