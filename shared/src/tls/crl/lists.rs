//! The lists in force, and how a new one comes into force.
//!
//! In: lists as bytes, from any source, one at a time. Out: the current [`Crls`], swapped in whole; logs at each
//! change of state, metrics, the detail of `/readyz`. Reading and verifying happens in the background: a
//! list of a million entries takes a second or two, in which every request is answered from the old one.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::{ArcSwap, Guard};
use prometheus_client::registry::Registry;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime, pem::PemObject};
use tracing::{debug, error, info, warn};

use super::{
    CrlConfig, CrlFault, Crls, Standing,
    files::Files,
    place::{Place, State},
    show::{CrlMetrics, FailureLabel, facts, instant},
    source::Origin,
    table::Offer,
    urls::Urls,
};
use crate::{
    background::in_background,
    identity::Certificate,
    management::{CheckResult, Checked},
    tls::{BundleKind, Peer, TlsFileError, TrustBundle},
};

const REFUSED: &str =
    "certificates of this CA are refused for want of a current revocation list: publish one";

type OnSwap = dyn Fn(&Crls) + Send + Sync;

/// The lists in force at the doors that believe one trust bundle.
pub struct RevocationLists {
    current: ArcSwap<Crls>,
    /// The CAs of the door's bundle.
    pub(super) bundle: ArcSwap<Vec<Arc<Certificate>>>,
    /// CAs that are known here beside them, whatever that bundle becomes.
    pub(super) beside: ArcSwap<Vec<Arc<Certificate>>>,
    /// The CAs of `crl.authorities`.
    pub(super) further: ArcSwap<Vec<Arc<Certificate>>>,
    config: CrlConfig,
    metrics: CrlMetrics,
    on_swap: Box<OnSwap>,
    book: Mutex<Book>,
    /// One list at a time: each is compared with the one in force.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    pub(super) files: tokio::sync::Mutex<Files>,
    pub(super) urls: tokio::sync::Mutex<Urls>,
}

/// What is remembered so that changes of state are logged once.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) rows: HashMap<(Vec<u8>, Vec<u8>), Offer>,
    troubles: BTreeMap<Origin, String>,
    /// CAs whose list is overdue or missing, and whether their certificates are refused for that.
    late: BTreeMap<String, bool>,
    /// How many bundles were believed since the first.
    pub(super) bundle: u64,
    /// The bundle for whose CAs the table is being read.
    pub(super) reading: u64,
    /// The bundle for whose CAs it was read whole.
    pub(super) settled: Option<u64>,
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLists").finish_non_exhaustive()
    }
}

impl RevocationLists {
    /// Places for the lists of all CAs of a bundle and of `crl.authorities`; nothing is read yet. `on_swap` is
    /// called, outside the runtime, whenever a list came into force.
    pub fn open(
        config: &CrlConfig,
        bundle: &TrustBundle,
        registry: &mut Registry,
        on_swap: impl Fn(&Crls) + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsFileError> {
        Self::open_beside(config, bundle, &[], registry, on_swap)
    }

    /// The same, with places for these CAs too, whatever the bundle becomes.
    pub fn open_beside(
        config: &CrlConfig,
        bundle: &TrustBundle,
        beside: &[Arc<Certificate>],
        registry: &mut Registry,
        on_swap: impl Fn(&Crls) + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsFileError> {
        let further = match &config.authorities {
            Some(file) => TrustBundle::read(file, BundleKind::AnyAuthority)?.authorities().to_vec(),
            None => Vec::new(),
        };
        let authorities = bundle.authorities().iter().chain(beside).chain(&further).cloned();
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(Crls::of(authorities, config, UnixTime::now())),
            bundle: ArcSwap::from_pointee(bundle.authorities().to_vec()),
            beside: ArcSwap::from_pointee(beside.to_vec()),
            further: ArcSwap::from_pointee(further),
            config: config.clone(),
            metrics: CrlMetrics::register(registry),
            on_swap: Box::new(on_swap),
            book: Mutex::default(),
            turn: Arc::default(),
            files: tokio::sync::Mutex::default(),
            urls: tokio::sync::Mutex::new(Urls::open(config)?),
        }))
    }

    /// The lists in force.
    #[must_use]
    pub fn current(&self) -> Guard<Arc<Crls>> {
        self.current.load()
    }

    /// What they say of a peer, now.
    #[must_use]
    pub fn judge(&self, peer: &Peer) -> Standing {
        self.current.load().judge(peer, UnixTime::now())
    }

    pub(super) fn config(&self) -> &CrlConfig {
        &self.config
    }

    /// Places for these CAs and no others.
    pub(super) fn replace_places(&self, authorities: &[Arc<Certificate>], now: UnixTime) {
        let before = self.current.rcu(|crls| crls.believing(authorities.to_vec(), &self.config, now));
        self.metrics.forget(&before, &self.current.load());
        self.metrics.show(&self.current.load());
    }

    /// A list of this issuer could not be used.
    pub(super) fn has_unusable(&self, name: &[u8], key_id: &[u8]) {
        self.current.rcu(|crls| crls.with_unusable(name, key_id).map_or_else(|| crls.clone(), Arc::new));
    }

    /// Every source was read: a CA without a list has none.
    pub(super) fn settle(&self) {
        self.current.rcu(|crls| Crls::clone(crls).settle());
        self.metrics.show(&self.current.load());
    }

    /// Loads whatever a source holds, off the runtime's threads. A fault is logged when it is another than before.
    pub(super) async fn offer(self: &Arc<Self>, origin: Origin, bytes: Vec<u8>) -> Result<(), CrlFault> {
        let turn = self.turn.clone().lock_owned().await;
        let lists = self.clone();
        let loading = in_background(move || {
            let _turn = turn;
            let outcome = lists.load(&origin, &bytes);
            lists.record(origin, &outcome);
            outcome
        });
        loading.await.unwrap_or(Err(CrlFault::Malformed("reading it failed")))
    }

    fn load(&self, origin: &Origin, bytes: &[u8]) -> Result<(), CrlFault> {
        let mut outcome = Ok(());
        for der in lists_in(bytes)? {
            let accepted = self.current.load().accept_of(&der, UnixTime::now());
            match accepted {
                Ok(Some(place)) => self.put_in_force(origin, &place),
                Ok(None) => {}
                Err(CrlFault::Foreign) if origin.may_be_foreign() => {
                    debug!(%origin, "a revocation list of a CA that is not known here");
                }
                // A refused list does not keep the next one in the same file from counting.
                Err(fault) => outcome = outcome.and(Err(fault)),
            }
        }
        outcome
    }

    fn put_in_force(&self, origin: &Origin, place: &Place) {
        let State::InForce(list) = &place.state else { return };
        // This place alone: another may have changed while the list was being read.
        self.current.rcu(|crls| crls.with(place.clone()));
        self.metrics.show(&self.current.load());
        let (label, entries) = (place.label(), list.entries.len());
        self.metrics.loads.get_or_create(&label).inc();
        let (issuer, number) = (label.issuer, list.number);
        info!(issuer, key = label.key, %number, entries, %origin, "a revocation list came into force");
        (self.on_swap)(&self.current.load());
        self.note_late();
    }

    /// Counts a fault; logs it when it is another than the source had before, and its end.
    pub(super) fn record(&self, origin: Origin, outcome: &Result<(), CrlFault>) {
        let mut book = self.book();
        let Err(fault) = outcome else {
            if book.troubles.remove(&origin).is_some() {
                info!(%origin, "revocation lists can be used again");
            }
            return;
        };
        let label = FailureLabel { source: origin.word(), reason: fault.word() };
        self.metrics.failures.get_or_create(&label).inc();
        let text = fault.to_string();
        if book.troubles.get(&origin) != Some(&text) {
            error!(%origin, fault = text, "a revocation list cannot be used; the last good one stays in force");
            book.troubles.insert(origin, text);
        }
    }

    /// Logs CAs whose list has become late or is missing, and those whose time is over, since the last look.
    pub(super) fn note_late(&self) {
        let (crls, now) = (self.current.load(), UnixTime::now());
        let mut book = self.book();
        for place in crls.places() {
            let issuer = place.name();
            if !place.is_late(now) {
                book.late.remove(&issuer);
                continue;
            }
            let refused = crls.refuses(place, now);
            let before = book.late.insert(issuer.clone(), refused);
            if before == Some(refused) {
                continue;
            }
            let (policy, missing, is_missing) =
                (self.config.policy, self.config.missing, matches!(place.state, State::Missing));
            match (refused, is_missing) {
                (true, _) => error!(issuer, ?policy, ?missing, "{REFUSED}"),
                (false, true) => warn!(issuer, ?missing, "this CA has no revocation list (crl.missing)"),
                (false, false) => {
                    error!(issuer, ?policy, "a revocation list is past its next update: sign a new one");
                }
            }
        }
    }

    /// For `/readyz`: each CA's list and each source's trouble. Not ready while a CA's certificates are refused
    /// for want of a good list.
    pub fn readiness(&self) -> CheckResult {
        let (crls, now) = (self.current.load(), UnixTime::now());
        let mut ready = true;
        let mut details = Vec::new();
        for place in crls.places() {
            ready &= !crls.refuses(place, now);
            details.push(format!("{place}{}", until(&crls, place, now)));
        }
        details.sort();
        details.extend(self.book().troubles.iter().map(|(origin, fault)| format!("{origin}: {fault}")));
        let detail = details.join("; ");
        if ready { Ok(detail) } else { Err(detail) }
    }

    /// As [`Self::readiness`], with the facts of each CA. It warns while a list is late, missing or refused.
    pub fn checked(&self) -> Checked {
        let (crls, now) = (self.current.load(), UnixTime::now());
        let mut facts: Vec<_> =
            crls.places().map(|place| (place.name(), facts(&crls, place, &self.config, now))).collect();
        facts.sort_by(|(one, _), (other, _)| one.cmp(other));
        let late = crls.places().any(|place| place.is_late(now)) || !self.book().troubles.is_empty();
        let facts = facts.into_iter().map(|(_, facts)| facts).collect();
        Checked::from(self.readiness()).warning(late).with("lists", facts)
    }

    /// A panic while the lock was held left nothing half-made: each change is one insertion or removal.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a late or missing list means, for people: nothing, if it is neither.
fn until(crls: &Crls, place: &Place, now: UnixTime) -> String {
    match crls.good_until(place) {
        _ if !place.is_late(now) => String::new(),
        _ if crls.refuses(place, now) => ", refused for that".to_owned(),
        i64::MAX => ", admitted all the same".to_owned(),
        end => format!(", admitted until {}", instant(end)),
    }
}

/// The lists in a PEM text, or the one list in DER.
fn lists_in(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'_>>, CrlFault> {
    const DER_SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    match lists {
        Ok(lists) if lists.is_empty() => Err(CrlFault::Empty),
        Ok(lists) => Ok(lists),
        Err(_) => Err(CrlFault::Malformed("not valid PEM")),
    }
}
