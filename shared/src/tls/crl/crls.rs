//! The lists in force: one place for each CA that is known here.
//!
//! In: lists as DER, peers. Out: a new value with one list replaced; whether a peer is revoked. Pure, and never
//! changed: it is replaced whole. A place belongs to a CA's name *and* key, so that a CA of the same name cannot
//! revoke, or fail to revoke, another's certificates (RFC 5280 §5.2.1).

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::UnixTime;

use super::{
    CrlConfig, CrlEntry, CrlFault,
    der::{BIT_STRING, Reader, SEQUENCE},
    entries::Entries,
    list::{Parsed, bits},
    place::{List, Patience, Place, State, seconds},
};
use crate::{
    identity::Certificate,
    tls::{Peer, provider},
};

/// How far the clock of whoever signs lists may be ahead of ours.
const SKEW: i64 = 300;

/// What the lists say of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing against it.
    Clear,
    /// Its certificate, or a CA on its path, is on the list of its issuer.
    Revoked(CrlEntry),
    /// Not known to be revoked, but a list that would say so is too old, unusable, not read yet or missing, and
    /// the time that the policies give is over.
    Stale,
}

/// The lists in force. Replaced whole; never changed.
#[derive(Debug, Clone)]
pub struct Crls {
    places: BTreeMap<Vec<u8>, Vec<Place>>,
    patience: Patience,
    /// Since when there have been lists here at all, Unix seconds.
    since: i64,
}

impl Crls {
    /// A place for each of these CAs, which are met now, none with a list yet: until [`Crls::settle`], nobody is
    /// clear.
    #[must_use]
    pub fn of(
        authorities: impl IntoIterator<Item = Arc<Certificate>>,
        config: &CrlConfig,
        now: UnixTime,
    ) -> Self {
        let known_since = seconds(now);
        let mut places = BTreeMap::<_, Vec<Place>>::new();
        for authority in authorities {
            let same_name = places.entry(authority.subject.clone()).or_default();
            // A CA's renewed certificate may stand beside the old one; it has one list.
            match same_name.iter_mut().find(|place| place.authority.public_key == authority.public_key) {
                Some(place) if place.authority.signs_crls => {}
                Some(place) => place.authority = authority,
                None => same_name.push(Place { authority, state: State::Unread, known_since }),
            }
        }
        Self { places, patience: Patience::of(config), since: known_since }
    }

    /// With places for these CAs and no others; a CA that had one keeps it, with its list.
    #[must_use]
    pub(super) fn believing(
        &self,
        authorities: Vec<Arc<Certificate>>,
        config: &CrlConfig,
        now: UnixTime,
    ) -> Self {
        let mut next = Self { since: self.since, ..Self::of(authorities, config, now) };
        for place in next.places.values_mut().flatten() {
            let same = |old: &&Place| old.authority.public_key == place.authority.public_key;
            if let Some(old) = self.places.get(&place.authority.subject).into_iter().flatten().find(same) {
                (place.state, place.known_since) = (old.state.clone(), old.known_since);
            }
        }
        next
    }

    /// Every source was read: a CA without a list has none.
    #[must_use]
    pub fn settle(mut self) -> Self {
        let unread = |place: &&mut Place| matches!(place.state, State::Unread);
        self.places.values_mut().flatten().filter(unread).for_each(|place| place.state = State::Missing);
        self
    }

    /// With this list in force; none if it is in force already. The list in force stays on any fault.
    pub fn accept(&self, der: &[u8], now: UnixTime) -> Result<Option<Self>, CrlFault> {
        Ok(self.accept_of(der, now)?.map(|place| self.with(place)))
    }

    /// As [`Crls::accept`]: the place that has this list then.
    pub(super) fn accept_of(&self, der: &[u8], now: UnixTime) -> Result<Option<Place>, CrlFault> {
        let parsed = Parsed::read(der)?;
        let place = self.signer_of(&parsed)?;
        if parsed.this_update > seconds(now).saturating_add(SKEW) {
            return Err(CrlFault::Future);
        }
        if parsed.users_only && place.authority.authority != Some(Some(0)) {
            return Err(CrlFault::Partial);
        }
        let digest = digest(&SHA256, der);
        if let State::InForce(current) = &place.state {
            if current.digest.as_ref() == digest.as_ref() {
                return Ok(None);
            }
            current.check_successor(&parsed)?;
        }
        let list = List {
            number: parsed.number,
            this_update: parsed.this_update,
            next_update: parsed.next_update,
            entries: Entries::read(parsed.entries)?,
            digest,
            scope: parsed.scope.map(Into::into),
        };
        Ok(Some(Place { state: State::InForce(Arc::new(list)), ..place.clone() }))
    }

    /// A list of this issuer could not be used: without a good one, its certificates are not clear.
    #[must_use]
    pub(super) fn with_unusable(&self, name: &[u8], key_id: &[u8]) -> Option<Self> {
        let place = self.places_of(name, Some(key_id)).next()?;
        let has_none = !matches!(place.state, State::InForce(_));
        has_none.then(|| self.with(Place { state: State::Unusable, ..place.clone() }))
    }

    /// Whether a list of this issuer could count here.
    pub(super) fn knows(&self, name: &[u8], key_id: &[u8]) -> bool {
        self.places_of(name, Some(key_id)).next().is_some()
    }

    /// Whether certificates issued at this place are refused for want of a good list.
    pub(super) fn refuses(&self, place: &Place, now: UnixTime) -> bool {
        seconds(now) > self.good_until(place)
    }

    /// The last second in which they are not; `i64::MAX`: they never are.
    pub(super) fn good_until(&self, place: &Place) -> i64 {
        self.patience.good_until(place)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.values().flatten()
    }

    /// With one place changed.
    pub(super) fn with(&self, changed: Place) -> Self {
        let mut next = self.clone();
        let mut same = next.places.get_mut(&changed.authority.subject).into_iter().flatten();
        if let Some(place) = same.find(|place| Arc::ptr_eq(&place.authority, &changed.authority)) {
            *place = changed;
        }
        next
    }

    /// The places under a name; with a key identifier, those whose key has it or has none.
    fn places_of<'a>(&'a self, name: &[u8], key_id: Option<&'a [u8]>) -> impl Iterator<Item = &'a Place> {
        self.places.get(name).into_iter().flatten().filter(move |place| {
            let own = place.authority.key_id.as_deref();
            own.is_none() || key_id.is_none() || own == key_id
        })
    }

    /// The CA whose key verifies the list's signature.
    fn signer_of<'a>(&'a self, list: &'a Parsed<'_>) -> Result<&'a Place, CrlFault> {
        let mut fault = CrlFault::Foreign;
        for place in self.places_of(list.issuer, list.key_id) {
            match () {
                () if !place.authority.signs_crls => fault = CrlFault::KeyUsage,
                () if !verifies(list, &place.authority.public_key)? => fault = CrlFault::Signature,
                () => return Ok(place),
            }
        }
        Err(fault)
    }

    /// What the lists say of a peer and of every CA on its path, from memory.
    #[must_use]
    pub fn judge(&self, peer: &Peer, now: UnixTime) -> Standing {
        let path = &peer.path.authorities;
        let mut standing = Standing::Clear;
        for (index, certificate) in
            std::iter::once(&peer.certificate).chain(path.iter().map(AsRef::as_ref)).enumerate()
        {
            // The issuer of each is the next on the path; the anchor's is not on it.
            let judged = match path.get(index) {
                Some(issuer) => self.judge_by(issuer, certificate, now),
                None => self.judge_anchor(certificate, now),
            };
            match judged {
                Standing::Revoked(_) => return judged,
                Standing::Stale => standing = Standing::Stale,
                Standing::Clear => {}
            }
        }
        standing
    }

    fn judge_by(&self, issuer: &Certificate, certificate: &Certificate, now: UnixTime) -> Standing {
        let mut same_name = self.places.get(&issuer.subject).into_iter().flatten();
        match same_name.find(|place| place.authority.public_key == issuer.public_key) {
            Some(place) => self.judge_at(place, certificate, now),
            None => self.without_list(now),
        }
    }

    /// A root is trusted because it is configured, not because a list allows it. An issuing CA that serves as
    /// the anchor can be revoked by its root, if that root is known here.
    fn judge_anchor(&self, anchor: &Certificate, now: UnixTime) -> Standing {
        if anchor.issuer == anchor.subject {
            return Standing::Clear;
        }
        let issuers = self.places_of(&anchor.issuer, anchor.issuer_key_id.as_deref());
        let mut standings = issuers.map(|place| self.judge_at(place, anchor, now));
        standings.find(|standing| *standing != Standing::Clear).unwrap_or(Standing::Clear)
    }

    fn judge_at(&self, place: &Place, certificate: &Certificate, now: UnixTime) -> Standing {
        let entry = match &place.state {
            State::InForce(list) => list.entries.find(&certificate.serial),
            _ => None,
        };
        match entry {
            Some(entry) => Standing::Revoked(entry),
            None if self.refuses(place, now) => Standing::Stale,
            None => Standing::Clear,
        }
    }

    /// A CA that the peer sent and nobody here has named: it can have no list.
    fn without_list(&self, now: UnixTime) -> Standing {
        if seconds(now) > self.patience.good_without_until(self.since) {
            return Standing::Stale;
        }
        Standing::Clear
    }
}

/// Whether a list is signed by a key (`SubjectPublicKeyInfo`), with the algorithms that TLS uses here, of which
/// none is weak.
fn verifies(list: &Parsed<'_>, public_key: &[u8]) -> Result<bool, CrlFault> {
    let mut info = Reader::of(Reader::of(public_key).expect(SEQUENCE, "a public key")?);
    let algorithm = info.expect(SEQUENCE, "a public key without its algorithm")?;
    let key = bits(info.expect(BIT_STRING, "a public key without the key")?)?;
    Ok(provider()
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|one| one.signature_alg_id().as_ref() == list.algorithm)
        .filter(|one| one.public_key_alg_id().as_ref() == algorithm)
        .any(|one| one.verify_signature(key, list.signed, list.signature).is_ok()))
}
