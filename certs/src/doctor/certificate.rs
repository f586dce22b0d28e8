//! The client's certificate in itself: its path, its dates, its purpose; and the CAs that the client believes.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use shared::identity::{Certificate, Judged, Validity};
use webpki::{EndEntityCert, KeyUsage};

use super::report::{Check, Report};
use crate::{credentials::Credentials, describe};

/// Seed of many calls to the operator: a certificate is to be renewed while it is still good.
const RENEW_WITHIN: i64 = 30 * 24 * 60 * 60;

/// Judges what needs no server.
pub(super) fn judge(credentials: &Credentials, roots: &[CertificateDer<'static>], report: &mut Report) {
    let Some(leaf) = credentials.chain.first() else { return };
    let Ok(facts) = Certificate::parse(leaf) else { return };
    chain(credentials, &facts, roots, report);
    dates(credentials, report);
    purpose(leaf, &facts, report);
}

/// The CAs that the client believes.
pub(super) fn authorities(roots: &[CertificateDer<'static>], report: &mut Report) {
    let now = UnixTime::now();
    let mut names = Vec::new();
    for der in roots {
        let Ok(facts) = Certificate::parse(der) else {
            report.fail(Check::Authorities, "--cacert holds a damaged certificate", "copy the file again");
            return;
        };
        let name = describe::name(&facts.subject);
        if facts.authority.is_none() {
            report.fail(
                Check::Authorities,
                format!("{name} in --cacert is not a CA"),
                "give ca.crt, the root that the operator gave you, not a certificate of the server or your own",
            );
            return;
        }
        if facts.validity.judge(now) != Judged::Valid {
            let (from, to) = span(facts.validity);
            report.fail(
                Check::Authorities,
                format!("the CA {name} in --cacert is not in force: it is valid from {from} to {to}"),
                "check this machine's clock; else ask the operator for the new ca.crt",
            );
            return;
        }
        names.push(name);
    }
    if !names.is_empty() {
        report.pass(Check::Authorities, format!("believes {}", names.join("; ")));
    }
}

/// The path to one of `anchors`, with the dates left out of account: they have a check of their own.
pub(super) fn path(
    chain: &[CertificateDer<'static>],
    anchors: &[TrustAnchor<'_>],
    usage: KeyUsage,
    at: UnixTime,
) -> Result<(), webpki::Error> {
    let Some((leaf, intermediates)) = chain.split_first() else { return Err(webpki::Error::BadDer) };
    let algorithms = shared::tls::provider().signature_verification_algorithms.all;
    let leaf = EndEntityCert::try_from(leaf)?;
    leaf.verify_for_usage(algorithms, anchors, intermediates, at, usage, None, None).map(|_| ())
}

/// What webpki takes as anchors.
pub(super) fn anchors<'a>(roots: &'a [CertificateDer<'static>]) -> Vec<TrustAnchor<'a>> {
    roots.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect()
}

fn chain(
    credentials: &Credentials,
    facts: &Certificate,
    roots: &[CertificateDer<'static>],
    report: &mut Report,
) {
    let (subject, issuer) = (describe::name(&facts.subject), describe::name(&facts.issuer));
    let moment = common_moment(credentials);
    let anchors = anchors(roots);
    let mut found = path(&credentials.chain, &anchors, KeyUsage::client_auth(), moment);
    if let Err(webpki::Error::RequiredEkuNotFoundContext(_)) = found {
        // that it is no client's is told under its own check; as a server's its path can still be judged
        found = path(&credentials.chain, &anchors, KeyUsage::server_auth(), moment);
    }
    let own_words = format!("{subject}, issued by {issuer}");
    match found {
        Ok(()) => report.pass(Check::Chain, format!("{own_words}, leads to a CA of --cacert")),
        Err(_) if facts.subject == facts.issuer => {
            report.fail(
                Check::Chain,
                format!("{subject} is self-signed: nobody vouches for it"),
                "have the operator issue a certificate (portcullis-certs issue client), also for a key of your own (--csr)",
            );
        }
        Err(webpki::Error::InvalidSignatureForPublicKey) => {
            report.fail(
                Check::Chain,
                format!("{own_words}: but the CA of that name that is at hand did not sign it"),
                "the CA was made anew, or the files are of two installations: ask for a certificate and a ca.crt of the same one",
            );
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => {
            report.skip(Check::Chain, "not judged for a certificate of this purpose: see \"key usage\"");
        }
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
            report.skip(Check::Chain, "its certificates were never in force together: see \"dates\"");
        }
        Err(webpki::Error::UnknownIssuer) => {
            let sent = credentials.chain.iter().skip(1).filter_map(|der| Certificate::parse(der).ok());
            let held = sent.into_iter().any(|one| one.subject == facts.issuer);
            let missing =
                if held { "no CA of --cacert vouches for that CA" } else { "that CA is not in the file" };
            report.warn(
                Check::Chain,
                format!("{own_words}: {missing}"),
                "if the proxy does not know your certificate either: put the certificate of its CA after it, in the same \
                 file, and check that ca.crt is of the same installation",
            );
        }
        Err(error) => {
            report.fail(
                Check::Chain,
                format!("{own_words}: the path does not verify: {error}"),
                "ask the operator for a new certificate with the CA after it, and a ca.crt of the same installation",
            );
        }
    }
}

/// The moment nearest to now at which every certificate of the chain is in force, if there is one.
fn common_moment(credentials: &Credentials) -> UnixTime {
    let facts = credentials.chain.iter().filter_map(|der| Certificate::parse(der).ok());
    let (mut from, mut to) = (i64::MIN, i64::MAX);
    for facts in facts {
        (from, to) = (from.max(facts.validity.not_before), to.min(facts.validity.not_after));
    }
    let moment = now_seconds().max(from).min(to);
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(moment).unwrap_or(0)))
}

fn dates(credentials: &Credentials, report: &mut Report) {
    let now = UnixTime::now();
    for (index, der) in credentials.chain.iter().enumerate() {
        let Ok(facts) = Certificate::parse(der) else { continue };
        let (from, to) = span(facts.validity);
        let whose = if index == 0 {
            "your certificate".to_owned()
        } else {
            format!("the CA {}", describe::name(&facts.subject))
        };
        match facts.validity.judge(now) {
            Judged::Valid => {}
            Judged::Expired => {
                report.fail(
                    Check::Dates,
                    format!("{whose} expired on {to}"),
                    "ask the operator to renew it (portcullis-certs renew); check this machine's clock if that is a surprise",
                );
                return;
            }
            Judged::NotYetValid => {
                report.fail(
                    Check::Dates,
                    format!("{whose} is not valid before {from}"),
                    format!(
                        "check this machine's clock: it says {}; else wait until then",
                        describe::moment(now_seconds())
                    ),
                );
                return;
            }
        }
    }
    let Some(facts) = credentials.chain.first().and_then(|der| Certificate::parse(der).ok()) else { return };
    let (from, to) = span(facts.validity);
    if facts.validity.not_after - now_seconds() < RENEW_WITHIN {
        report.warn(
            Check::Dates,
            format!("your certificate expires on {to}, within 30 days"),
            "ask the operator to renew it now (portcullis-certs renew NAME --overlap 7d)",
        );
    } else {
        report.pass(Check::Dates, format!("your certificate is valid from {from} to {to}"));
    }
}

fn purpose(leaf: &CertificateDer<'_>, facts: &Certificate, report: &mut Report) {
    let remedy = "ask the operator for a client certificate (portcullis-certs issue client)";
    let purposes = describe::purposes(leaf);
    if facts.authority.is_some() || facts.signs_certificates {
        report.fail(Check::Purpose, "this is a CA's certificate, not a client's", remedy);
    } else if facts.client_auth {
        report.pass(Check::Purpose, format!("it is for {}", purposes.join(", ")));
    } else if purposes.is_empty() {
        report.fail(
            Check::Purpose,
            "it does not say that it is for clientAuth (no extended key usage)",
            remedy,
        );
    } else {
        report.fail(Check::Purpose, format!("it is for {}, not for clientAuth", purposes.join(", ")), remedy);
    }
}

pub(super) fn span(validity: Validity) -> (String, String) {
    (describe::moment(validity.not_before), describe::moment(validity.not_after))
}

pub(super) fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
