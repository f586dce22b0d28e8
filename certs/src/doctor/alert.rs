//! What each TLS alert (RFC 8446 §6, RFC 5246 §7.2) means when a server sends it to a client, and what to do.

use super::report::{
    Check::{self, CertificateAccepted, ServerName, TlsVersion},
    Report,
};

/// An alert explained.
pub(super) struct Alert {
    /// The word of the standard.
    pub(super) word: &'static str,
    /// What it means.
    pub(super) meaning: &'static str,
    /// What to do.
    pub(super) remedy: &'static str,
    /// The check that it answers.
    pub(super) check: Check,
}

const fn alert(word: &'static str, meaning: &'static str, remedy: &'static str, check: Check) -> Alert {
    Alert { word, meaning, remedy, check }
}

/// By number.
const ALERTS: [(u8, Alert); 16] = [
    (
        40,
        alert(
            "handshake_failure",
            "nothing in common: no cipher suite, or, in TLS 1.2, the server expects a client certificate and got none",
            "give --cert and --key if you gave none; else the server must allow ECDHE with AES-GCM or ChaCha20-Poly1305 \
             (TLS 1.2) or TLS 1.3",
            TlsVersion,
        ),
    ),
    (
        42,
        alert(
            "bad_certificate",
            "your certificate is damaged, or a signature in its chain does not verify",
            "ask the operator for the certificate again, and put its CA after it in the same file",
            CertificateAccepted,
        ),
    ),
    (
        43,
        alert(
            "unsupported_certificate",
            "your certificate is of a kind that the server does not take: usually it is not for clientAuth",
            "ask the operator for a client certificate (portcullis-certs issue client)",
            CertificateAccepted,
        ),
    ),
    (
        44,
        alert(
            "certificate_revoked",
            "your certificate is revoked",
            "this is final: ask the operator for a new certificate",
            CertificateAccepted,
        ),
    ),
    (
        45,
        alert(
            "certificate_expired",
            "your certificate, or a CA above it, has expired or is not valid yet by the server's clock",
            "ask the operator to renew it; if its dates are good, compare both clocks",
            CertificateAccepted,
        ),
    ),
    (
        46,
        alert(
            "certificate_unknown",
            "the server refuses your certificate for another reason: a CA's own certificate is shown as a client's, or \
             the chain breaks a rule",
            "show the certificate that was issued to you, with its CA after it, and no more",
            CertificateAccepted,
        ),
    ),
    (
        47,
        alert(
            "illegal_parameter",
            "the server found a value in the handshake that may not be: its TLS and ours disagree, or something between \
             you changes the bytes",
            "try from another network, without an inspecting proxy between; tell the operator",
            CertificateAccepted,
        ),
    ),
    (
        48,
        alert(
            "unknown_ca",
            "the server does not know the CA that issued your certificate, or the CA between yours and a known one is \
             missing in your file",
            "put the CA's certificate after yours in the file; else ask the operator whether your CA is in the proxy's \
             tls.clients_ca",
            CertificateAccepted,
        ),
    ),
    (
        49,
        alert(
            "access_denied",
            "your certificate is genuine, but its holder may not connect: unknown here, suspended, or another reason of \
             the operator's (strict handshakes do not say which)",
            "ask the operator whether your certificate is registered and active; have its fingerprint at hand",
            CertificateAccepted,
        ),
    ),
    (
        51,
        alert(
            "decrypt_error",
            "a signature does not verify: a CA of the same name, but with another key, issued your certificate",
            "the CA was made anew, or the files are of two installations: ask for a certificate of this one",
            CertificateAccepted,
        ),
    ),
    (
        70,
        alert(
            "protocol_version",
            "the server speaks neither TLS 1.3 nor TLS 1.2",
            "the server must be updated; older versions are not safe and are not spoken here",
            TlsVersion,
        ),
    ),
    (
        71,
        alert(
            "insufficient_security",
            "the server asks for other cipher suites than the strong ones that are offered",
            "ask the operator which cipher suites the server allows",
            TlsVersion,
        ),
    ),
    (
        80,
        alert(
            "internal_error",
            "the server failed in itself",
            "try again; tell the operator the time",
            CertificateAccepted,
        ),
    ),
    (
        112,
        alert(
            "unrecognized_name",
            "the server does not serve the name in the URL",
            "use the name that the operator gave you in the URL",
            ServerName,
        ),
    ),
    (
        116,
        alert(
            "certificate_required",
            "the server got no client certificate",
            "give --cert and --key, or --p12; with them given, the file must hold your own certificate first",
            CertificateAccepted,
        ),
    ),
    (
        120,
        alert(
            "no_application_protocol",
            "the server does not speak HTTP/1.1 on this port",
            "check the port in the URL: it may be another service's",
            TlsVersion,
        ),
    ),
];

const OTHER: Alert = alert(
    "an alert without a name here",
    "the server ended the handshake",
    "tell the operator the number of the alert and the time",
    CertificateAccepted,
);

/// Explains an alert by its number.
pub(super) fn explain(number: u8) -> &'static Alert {
    ALERTS.iter().find(|(known, _)| *known == number).map_or(&OTHER, |(_, alert)| alert)
}

/// How an alert came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Instead of a handshake.
    During,
    /// TLS 1.3: the client's side was complete before the server had judged the client's certificate.
    After,
}

/// Tells an alert under the check that it answers.
pub(super) fn tell(number: u8, when: When, server_was_verified: bool, shown: bool, report: &mut Report) {
    let known = explain(number);
    let mut check = known.check;
    if number == 40 && server_was_verified {
        // TLS 1.2: versions and suites were agreed long before, so it is about the certificate
        check = Check::CertificateAccepted;
    }
    let late = match when {
        When::During => "",
        When::After => {
            ". In TLS 1.3 it comes after the handshake looked complete: programs report a broken connection when they \
             read the answer"
        }
    };
    let remedy = match (number, shown) {
        (40 | 116, false) => {
            "give --cert and --key, or --p12: the server asks everybody for a client certificate"
        }
        _ => known.remedy,
    };
    let text = format!("alert {number} ({}): {}{late}", known.word, known.meaning);
    report.fail(check, text, remedy).alert = Some(number);
}
