//! Who was seen, and who was refused, until the next report.
//!
//! In: one line per answered request. Out: per certificate what is new, for the main server. Bounded: what
//! does not fit is counted and forgotten. A request holds the lock of one shard for a few instructions.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use shared::{
    identity::{Fingerprint, Name},
    wire::{
        Code,
        report::{SeenCertificate, SeenRefusal},
    },
};
use time::OffsetDateTime;

const SHARDS: usize = 64;
/// 64 × 1024 certificates between two reports, about 10 MiB.
const CERTIFICATES_PER_SHARD: usize = 1024;

type Shard = HashMap<Fingerprint, SeenCertificate>;

/// What is to be reported.
#[derive(Debug)]
pub struct Activity {
    shards: Vec<Mutex<Shard>>,
    /// The shard that is reported next: under load, all get their turn.
    next: AtomicUsize,
    forgotten: Counter,
}

impl Activity {
    /// Nothing seen yet.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let forgotten = Counter::default();
        let help = "Requests that were not reported because too many certificates were seen at once";
        registry.register("portcullis_activity_forgotten", help, forgotten.clone());
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), next: AtomicUsize::new(0), forgotten }
    }

    /// Notes an admitted request.
    pub fn admitted(&self, fingerprint: Fingerprint, client_id: &Name) {
        self.note(seen(fingerprint, Some(client_id.clone()), None));
    }

    /// Notes a refused one.
    pub fn refused(&self, fingerprint: Fingerprint, client_id: Option<Name>, code: Code) {
        self.note(seen(fingerprint, client_id, Some(code)));
    }

    /// Takes out about `limit` certificates.
    pub fn take(&self, limit: usize) -> Vec<SeenCertificate> {
        let mut taken = Vec::new();
        for _ in 0..SHARDS {
            let index = self.next.fetch_add(1, Relaxed) % SHARDS;
            let shard = std::mem::take(&mut *lock(&self.shards[index]));
            taken.extend(shard.into_values());
            if taken.len() >= limit {
                break;
            }
        }
        taken
    }

    /// Puts back what could not be reported.
    pub fn put_back(&self, unreported: Vec<SeenCertificate>) {
        for one in unreported {
            self.note(one);
        }
    }

    fn note(&self, new: SeenCertificate) {
        let index = usize::from(new.cert_fingerprint.as_bytes()[31]) % SHARDS;
        let mut shard = lock(&self.shards[index]);
        let full = shard.len() >= CERTIFICATES_PER_SHARD;
        match shard.entry(new.cert_fingerprint) {
            Entry::Occupied(mut held) => merge(held.get_mut(), new),
            Entry::Vacant(_) if full => drop(self.forgotten.inc_by(new.requests + new.refusals)),
            Entry::Vacant(place) => drop(place.insert(new)),
        }
    }
}

fn seen(cert_fingerprint: Fingerprint, client_id: Option<Name>, refused: Option<Code>) -> SeenCertificate {
    let now = OffsetDateTime::now_utc();
    let refusals = u64::from(refused.is_some());
    SeenCertificate {
        cert_fingerprint,
        client_id,
        first_seen_at: now,
        last_seen_at: now,
        requests: 1 - refusals,
        refusals,
        last_refusal: refused.map(|code| SeenRefusal { at: now, code }),
    }
}

/// Either may be the older one.
fn merge(held: &mut SeenCertificate, new: SeenCertificate) {
    if new.last_seen_at >= held.last_seen_at {
        held.client_id = new.client_id.or(held.client_id.take());
    }
    held.first_seen_at = held.first_seen_at.min(new.first_seen_at);
    held.last_seen_at = held.last_seen_at.max(new.last_seen_at);
    held.requests += new.requests;
    held.refusals += new.refusals;
    held.last_refusal =
        held.last_refusal.into_iter().chain(new.last_refusal).max_by_key(|refusal| refusal.at);
}

/// A panic while the lock was held left at worst one line uncounted.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Activity {
        Activity::register(&mut Registry::default())
    }

    fn fingerprint(number: usize) -> Fingerprint {
        Fingerprint::of_der(&number.to_be_bytes())
    }

    #[test]
    fn a_certificate_is_reported_once_with_all_that_it_did() {
        let activity = activity();
        let name: Name = "client_001".parse().unwrap();
        activity.admitted(fingerprint(1), &name);
        activity.admitted(fingerprint(1), &name);
        activity.refused(fingerprint(1), Some(name.clone()), Code::ClientSuspended);
        let taken = activity.take(100);
        let [one] = &taken[..] else { panic!("{taken:?}") };
        assert_eq!((one.requests, one.refusals, &one.client_id), (2, 1, &Some(name)));
        assert_eq!(one.last_refusal.map(|refusal| refusal.code), Some(Code::ClientSuspended));
        assert!(one.first_seen_at <= one.last_seen_at);
        assert!(activity.take(100).is_empty());

        activity.refused(fingerprint(1), None, Code::CertificateRevoked);
        activity.put_back(taken);
        let [both] = &activity.take(100)[..] else { panic!("not one") };
        assert_eq!((both.requests, both.refusals), (2, 2));
        assert_eq!(both.last_refusal.map(|refusal| refusal.code), Some(Code::CertificateRevoked));
    }

    #[test]
    fn it_is_bounded_and_says_what_it_forgot() {
        let activity = activity();
        let certificates = 2 * SHARDS * CERTIFICATES_PER_SHARD;
        (0..certificates).for_each(|one| activity.refused(fingerprint(one), None, Code::CertificateUnknown));
        let mut reported = 0;
        loop {
            let taken = activity.take(1000).len();
            if taken == 0 {
                break;
            }
            assert!(taken < 1000 + CERTIFICATES_PER_SHARD);
            reported += taken;
        }
        assert_eq!(reported + usize::try_from(activity.forgotten.get()).unwrap(), certificates);
        assert!(reported <= SHARDS * CERTIFICATES_PER_SHARD);
    }
}
