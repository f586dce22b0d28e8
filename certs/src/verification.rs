//! Whether a certificate is good, check by check: what `openssl verify -crl_check_all` looks at, and what it cannot see.
//!
//! In: a chain, the authority, and what else is known of it. Out: one line per check. Nothing is refused here: a check
//! fails, and says why.

use rustls_pki_types::{CertificateDer, UnixTime};
use shared::{
    identity::{Certificate, Judged, Workload},
    tls::{Purpose, TrustBundle, verify_path},
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    Authority, Ca, RevocationList,
    folder::serial,
    moment::{from_unix, written},
    name_of_reason,
};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Good now, but not for long.
    Warn,
    /// Not as it should be.
    Fail,
    /// Could not be looked at.
    Skip,
}

/// One check.
#[derive(Debug, Clone)]
pub struct Check {
    /// Which.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub text: String,
}

impl Check {
    /// A check with its finding.
    #[must_use]
    pub fn new(name: &'static str, outcome: Outcome, text: impl Into<String>) -> Self {
        Self { name, outcome, text: text.into() }
    }
}

/// From how many days on a certificate's end is warned of.
const WARNED: i64 = 30;

/// The checks that need nothing but the certificate and the CA: chain, dates, lists, purpose.
#[must_use]
pub fn checks(
    authority: &Authority,
    anchor: Option<&TrustBundle>,
    chain: &[CertificateDer<'_>],
    facts: &Certificate,
) -> Vec<Check> {
    let ca = authority.issuer_of(facts);
    let signature = signature(authority, chain, ca);
    let signed = signature.outcome == Outcome::Pass;
    vec![
        signature,
        dates(authority, facts, ca),
        revocation(authority, facts, ca),
        usage(authority, anchor, chain, facts, signed),
    ]
}

fn signature(authority: &Authority, chain: &[CertificateDer<'_>], ca: Option<Ca>) -> Check {
    let check = |outcome, text: String| Check::new("signature", outcome, text);
    let Some(ca) = ca else {
        return check(Outcome::Fail, "issued by none of the CAs here".to_owned());
    };
    let issuer = authority.issuer(ca);
    if !chain.first().is_some_and(|leaf| signed_by(leaf, issuer.certificate())) {
        return check(Outcome::Fail, format!("names the {ca} as its issuer, but that did not sign it"));
    }
    if !signed_by(issuer.certificate(), authority.root().certificate()) {
        return check(Outcome::Fail, format!("the root did not sign the {ca}"));
    }
    check(Outcome::Pass, format!("signed by the {ca}, and that by the root"))
}

fn signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let (Ok((_, one)), Ok((_, issuer))) =
        (X509Certificate::from_der(certificate), X509Certificate::from_der(issuer))
    else {
        return false;
    };
    one.verify_signature(Some(issuer.public_key())).is_ok()
}

fn dates(authority: &Authority, facts: &Certificate, ca: Option<Ca>) -> Check {
    let check = |outcome, text: String| Check::new("dates", outcome, text);
    for above in ca.into_iter().chain([Ca::Root]) {
        if authority.issuer(above).facts().validity.judge(UnixTime::now()) != Judged::Valid {
            return check(Outcome::Fail, format!("the {above} itself is outside its dates"));
        }
    }
    let (begins, ends) = (from_unix(facts.validity.not_before), from_unix(facts.validity.not_after));
    match facts.validity.judge(UnixTime::now()) {
        Judged::NotYetValid => check(Outcome::Fail, format!("not valid before {}", written(begins))),
        Judged::Expired => check(Outcome::Fail, format!("expired at {}: renew it", written(ends))),
        Judged::Valid => {
            let days = (ends - OffsetDateTime::now_utc()).whole_days();
            let outcome = if days < WARNED { Outcome::Warn } else { Outcome::Pass };
            let advice = if days < WARNED { ": renew it" } else { "" };
            check(outcome, format!("valid for {days} more days, until {}{advice}", written(ends)))
        }
    }
}

fn revocation(authority: &Authority, facts: &Certificate, ca: Option<Ca>) -> Check {
    let check = |outcome, text: String| Check::new("revocation", outcome, text);
    let Some(ca) = ca else {
        return check(Outcome::Skip, "its CA is not here, nor is that CA's list".to_owned());
    };
    // its issuer's list for itself, the root's for its issuer
    for (list_of, who) in [(ca, facts), (Ca::Root, authority.issuer(ca).facts())] {
        match on_list(authority, list_of, who) {
            Ok(None) => {}
            Ok(Some(found)) if list_of == ca => return check(Outcome::Fail, found),
            Ok(Some(found)) => return check(Outcome::Fail, format!("the {ca}: {found}")),
            Err(fault) => return check(Outcome::Fail, fault),
        }
    }
    check(Outcome::Pass, format!("not on list {} of the {ca}", authority.crl(ca).number))
}

/// What a CA's list says of a certificate; an error if it cannot be relied upon.
fn on_list(authority: &Authority, ca: Ca, facts: &Certificate) -> Result<Option<String>, String> {
    let list: &RevocationList = authority.crl(ca);
    list.verify(authority.issuer(ca).facts()).map_err(|error| format!("the list of the {ca}: {error}"))?;
    let entries = list.revoked().map_err(|error| format!("the list of the {ca}: {error}"))?;
    if let Some(entry) = entries.iter().find(|entry| entry.is_of(&facts.serial)) {
        let reason = name_of_reason(entry.reason);
        return Ok(Some(format!(
            "revoked at {} ({reason}), serial {}",
            written(entry.revoked_at),
            serial(facts)
        )));
    }
    if list.next_update < OffsetDateTime::now_utc() {
        return Err(format!(
            "the list of the {ca} is overdue since {}: crl --refresh",
            written(list.next_update)
        ));
    }
    Ok(None)
}

/// As those who meet the certificate judge it: a client's as a client, a server's as both.
fn usage(
    authority: &Authority,
    anchor: Option<&TrustBundle>,
    chain: &[CertificateDer<'_>],
    facts: &Certificate,
    signed: bool,
) -> Check {
    let check = |outcome, text: String| Check::new("key usage", outcome, text);
    let (Some(anchor), Some(leaf), true) = (anchor, chain.first(), signed) else {
        return check(Outcome::Skip, "not looked at: the CA did not sign it".to_owned());
    };
    let serves = matches!(
        facts.spiffe.as_ref().map(|id| &id.workload),
        Some(Workload::Service(shared::identity::Role::Proxy | shared::identity::Role::MainServer, _))
    );
    let purposes: &[_] = if serves { &[Purpose::Server, Purpose::Client] } else { &[Purpose::Client] };
    let issuers: Vec<_> = Ca::ALL.map(|ca| authority.issuer(ca).certificate().clone()).to_vec();
    for purpose in purposes {
        // outside its dates it is judged at the nearest moment inside: the dates have a line of their own
        if let Err(error) = verify_path(anchor, leaf, &issuers, UnixTime::now(), *purpose, true) {
            let word = if *purpose == Purpose::Client { "client" } else { "server" };
            return check(Outcome::Fail, format!("cannot be used as a TLS {word}: {error}"));
        }
    }
    let words = if serves { "TLS server and client" } else { "TLS client" };
    check(Outcome::Pass, format!("may be used as a {words}"))
}
