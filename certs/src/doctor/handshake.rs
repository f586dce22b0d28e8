//! The TLS handshake: a common version, the server's certificate and name, and whether ours was taken.

use std::{io, sync::Arc, time::Duration};

use rustls::{Error, ProtocolVersion};
use rustls_pki_types::ServerName;
use shared::identity::Certificate;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Belongings, Question, alert,
    alert::When,
    certificate::{now_seconds, span},
    network::host,
    observer::{Observer, Seen},
    report::{Check, Report},
};
use crate::{
    client_tls::{client_config, tls_error},
    describe,
};

/// An alert that the server sends right after its handshake is met within this time, on most networks; a later one
/// is met when the answer is read.
const LISTEN: Duration = Duration::from_millis(250);

/// Shakes hands. `None` if that failed, or if nothing could be shown, so that asking further says nothing.
pub(super) async fn shake(
    question: &Question,
    belongings: &Belongings,
    socket: TcpStream,
    report: &mut Report,
) -> Option<TlsStream<TcpStream>> {
    let observer = Arc::new(Observer::new(belongings.roots.clone()));
    let credentials = belongings.credentials.as_ref();
    let Ok(mut config) = client_config(observer.clone(), credentials) else {
        report.skip(Check::TlsVersion, "TLS cannot be configured with this key");
        return None;
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = match ServerName::try_from(host(&question.url)) {
        Ok(name) => name,
        Err(error) => {
            report.fail(Check::ServerName, format!("the host in the URL: {error}"), "correct the URL");
            return None;
        }
    };
    let connector = TlsConnector::from(Arc::new(config));
    let outcome = timeout(question.patience, connector.connect(name, socket)).await;
    let seen = observer.seen();
    if let Some(seen) = &seen {
        server(question, belongings, seen, report);
    }
    match outcome {
        Ok(Ok(stream)) => accepted(stream, belongings, report).await,
        Ok(Err(error)) => {
            failed(&error, seen.as_ref(), belongings, report);
            None
        }
        Err(_) => {
            report.fail(
                Check::TlsVersion,
                format!("no answer to the TLS greeting within {:?}", question.patience),
                "check the port: what listens there may speak no TLS; a firewall may let only the connection through",
            );
            None
        }
    }
}

/// What the server showed of itself.
fn server(question: &Question, belongings: &Belongings, seen: &Seen, report: &mut Report) {
    let Some(leaf) = seen.chain.first() else { return };
    let Ok(facts) = Certificate::parse(leaf) else {
        report.fail(Check::ServerTrust, "the server's certificate is damaged", "tell the operator");
        return;
    };
    let (subject, issuer) = (describe::name(&facts.subject), describe::name(&facts.issuer));
    let (from, to) = span(facts.validity);
    match &seen.trust {
        Ok(()) => report.pass(Check::ServerTrust, format!("{subject}, issued by {issuer}, is believed")),
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
            report.fail(
                Check::ServerTrust,
                format!("the server's certificate ({subject}), or a CA above it, is not in force: it is valid from {from} to {to}"),
                format!(
                    "check this machine's clock: it says {}; else the operator has to renew the server's certificate",
                    describe::moment(now_seconds())
                ),
            );
        }
        Err(_) if belongings.roots.is_empty() => {
            report.fail(Check::ServerTrust, "no CA to believe could be read", "give ca.crt with --cacert");
        }
        Err(_) if facts.subject == facts.issuer => {
            report.fail(
                Check::ServerTrust,
                format!("the server's certificate ({subject}) is self-signed, and not in --cacert"),
                "give the ca.crt of this very server; else this is not the server that you think: do not send to it",
            );
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => {
            report.fail(
                Check::ServerTrust,
                format!("the server's certificate ({subject}) is not for serverAuth"),
                "the operator has to issue one for a server (portcullis-certs issue proxy)",
            );
        }
        Err(error) => {
            let believed = belongings.roots.iter().filter_map(|der| Certificate::parse(der).ok());
            let believed: Vec<_> = believed.map(|facts| describe::name(&facts.subject)).collect();
            report.fail(
                Check::ServerTrust,
                format!(
                    "the server's certificate ({subject}, issued by {issuer}) does not lead to a CA of --cacert ({}): {}",
                    believed.join("; "),
                    reason(error)
                ),
                "give the ca.crt that belongs to this server, from the operator over a channel you trust; if the issuer \
                 is a stranger's, something between you and the server answers in its place: do not send to it",
            );
        }
    }
    let host = host(&question.url);
    if seen.name.is_ok() {
        return report.pass(Check::ServerName, format!("its certificate is for {host}"));
    }
    let names = describe::hosts(leaf);
    let names = if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") };
    report.fail(
        Check::ServerName,
        format!("its certificate is not for {host}, but for {names}"),
        "use one of these names in the URL (with an entry in DNS or the hosts file if need be), or have the \
         operator issue the proxy's certificate with --host for the name you use",
    );
}

fn reason(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnknownIssuer => {
            "nobody there issued it, or the server does not send the CA between".to_owned()
        }
        webpki::Error::InvalidSignatureForPublicKey => {
            "a CA of that name is there, with another key".to_owned()
        }
        other => other.to_string(),
    }
}

/// The handshake is complete on our side. In TLS 1.3 the server judges our certificate only now.
async fn accepted(
    mut stream: TlsStream<TcpStream>,
    belongings: &Belongings,
    report: &mut Report,
) -> Option<TlsStream<TcpStream>> {
    let connection = stream.get_ref().1;
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    report.pass(Check::TlsVersion, format!("{version}, {}", suite.unwrap_or_default()));
    if belongings.credentials.is_none() && !belongings.nothing_named {
        report.skip(Check::CertificateAccepted, "your certificate could not be shown: see the files above");
        return None;
    }
    let mut byte = [0];
    match timeout(LISTEN, stream.read(&mut byte)).await {
        Err(_) => Some(stream),
        Ok(Ok(0)) => {
            hung_up("right after the handshake", report);
            None
        }
        Ok(Ok(_)) => {
            report.fail(
                Check::Whoami,
                "the server speaks first, so it is no HTTP server",
                "check the port in the URL: the proxy's is 8001 unless the operator says otherwise",
            );
            None
        }
        Ok(Err(error)) => {
            after(&error, belongings, report);
            None
        }
    }
}

/// The server hung up after the handshake: by an alert, or without a word.
pub(super) fn after(error: &(dyn std::error::Error + 'static), belongings: &Belongings, report: &mut Report) {
    match alert_in(error) {
        Some(number) => alert::tell(number, When::After, true, belongings.credentials.is_some(), report),
        None => hung_up("after the handshake", report),
    }
}

fn hung_up(when: &str, report: &mut Report) {
    report.fail(
        Check::CertificateAccepted,
        format!("the server closed the connection {when} without saying why: in TLS 1.3 that is how a refused certificate looks when its alert is lost"),
        "check the findings about your certificate above; ask the operator what the proxy's log says at this time",
    );
}

fn failed(error: &io::Error, seen: Option<&Seen>, belongings: &Belongings, report: &mut Report) {
    let verified = seen.is_some_and(|seen| seen.trust.is_ok() && seen.name.is_ok());
    if let Some(number) = alert_in(error) {
        return alert::tell(number, When::During, verified, belongings.credentials.is_some(), report);
    }
    match tls_error(error) {
        // told already
        Some(Error::InvalidCertificate(_)) if seen.is_some() => {
            report.pass(Check::TlsVersion, "a version and a cipher suite were agreed on");
        }
        Some(Error::PeerIncompatible(reason)) => {
            report.fail(
                Check::TlsVersion,
                format!("the server speaks no TLS that is safe today: {reason:?}"),
                "the server must allow TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305, or TLS 1.3",
            );
        }
        Some(Error::InvalidMessage(_)) => {
            report.fail(
                Check::TlsVersion,
                "what answers there does not speak TLS",
                "check the port in the URL: it may be plain HTTP, or another service's",
            );
        }
        Some(other) => {
            report.fail(
                Check::TlsVersion,
                format!("the handshake failed: {other}"),
                "tell the operator this line and the time",
            );
        }
        None => {
            report.fail(
                Check::TlsVersion,
                format!("the server closed the connection in the middle of the handshake ({error})"),
                "check the port in the URL; something between you and the server may refuse TLS; a proxy at its limit of \
                 connections makes new ones wait",
            );
        }
    }
}

fn alert_in(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    match tls_error(error) {
        Some(Error::AlertReceived(alert)) => Some(u8::from(*alert)),
        _ => None,
    }
}
