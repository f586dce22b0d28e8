//! The TLS handshake of a connection.
//!
//! In: an accepted socket. Out: a stream, and who is at its other end. Refused: whoever takes too long, or is not
//! believed; a refused peer gets to read its alert.

use std::{io, net::SocketAddr, time::Instant};

use rustls::{AlertDescription, Error, HandshakeKind, PeerIncompatible};
use rustls_pki_types::UnixTime;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use super::{
    Door, Limits,
    linger::linger,
    metrics::{Bound, HandshakeFailure},
};
use crate::tls::{ChainFault, Peer, with_verified_peer};

/// The word for a failure that was told to nobody.
pub(super) const NO_ALERT: &str = "none";

impl Door {
    /// The handshake under its deadline.
    pub(super) async fn shake_hands(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
        limits: &Limits,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let began = Instant::now();
        let (tls, door) = (self.tls.load_full(), self.name);
        let handshake = TlsAcceptor::from(tls.config.clone()).accept(socket).into_fallible();
        let outcome = timeout(limits.handshake.0, with_verified_peer(handshake)).await;
        let Ok((result, verified)) = outcome else {
            self.count_failure("timeout", NO_ALERT);
            self.metrics.shaken(door, "failed", began.elapsed());
            return None;
        };
        let stream = match result {
            Ok(stream) => stream,
            Err((error, socket)) => {
                self.count_failure(reason(&error), tls_error(&error).map_or(NO_ALERT, alert));
                self.metrics.shaken(door, "failed", began.elapsed());
                if chain_fault(&error).is_some() {
                    self.metrics.reached(door, Bound::Chain, remote.ip());
                }
                debug!(door, %remote, %error, "handshake failed");
                linger(socket, limits.linger.0).await;
                return None;
            }
        };
        self.metrics.shaken(door, kind(stream.get_ref().1.handshake_kind()), began.elapsed());
        if let Some(peer) = verified {
            return Some((stream, peer));
        }
        // A resumed session: rustls did not call the verifier, and what it would say may have changed.
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        match tls.verifier.verify(chain, UnixTime::now()) {
            Ok(peer) => Some((stream, peer)),
            Err(error) => {
                self.count_failure("resumed_untrusted", NO_ALERT);
                debug!(door, %remote, %error, "a resumed session's chain no longer verifies");
                None
            }
        }
    }

    pub(super) fn count_failure(&self, reason: &'static str, alert: &'static str) {
        let label = HandshakeFailure { door: self.name, reason, alert };
        self.metrics.handshake_failures.get_or_create(&label).inc();
    }
}

const fn kind(kind: Option<HandshakeKind>) -> &'static str {
    match kind {
        Some(HandshakeKind::Resumed) => "resumed",
        Some(HandshakeKind::FullWithHelloRetryRequest) => "full_after_retry",
        Some(HandshakeKind::Full) | None => "full",
    }
}

/// The alert that a failed handshake ended with, the peer's or ours, by its name in RFC 8446 §6. rustls does not say
/// which one it sent; this is what its errors stand for.
fn alert(error: &Error) -> &'static str {
    let alert = match error {
        Error::AlertReceived(alert) => *alert,
        Error::InvalidCertificate(error) => AlertDescription::from(error.clone()),
        Error::InvalidMessage(error) => AlertDescription::from(*error),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => AlertDescription::ProtocolVersion,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        _ => return "other",
    };
    name(alert)
}

const fn name(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::CloseNotify => "close_notify",
        A::UnexpectedMessage => "unexpected_message",
        A::BadRecordMac => "bad_record_mac",
        A::RecordOverflow => "record_overflow",
        A::HandshakeFailure => "handshake_failure",
        A::BadCertificate => "bad_certificate",
        A::UnsupportedCertificate => "unsupported_certificate",
        A::CertificateRevoked => "certificate_revoked",
        A::CertificateExpired => "certificate_expired",
        A::CertificateUnknown => "certificate_unknown",
        A::IllegalParameter => "illegal_parameter",
        A::UnknownCA => "unknown_ca",
        A::AccessDenied => "access_denied",
        A::DecodeError => "decode_error",
        A::DecryptError => "decrypt_error",
        A::ProtocolVersion => "protocol_version",
        A::InsufficientSecurity => "insufficient_security",
        A::InternalError => "internal_error",
        A::InappropriateFallback => "inappropriate_fallback",
        A::UserCanceled => "user_canceled",
        A::MissingExtension => "missing_extension",
        A::UnsupportedExtension => "unsupported_extension",
        A::UnrecognisedName => "unrecognized_name",
        A::CertificateRequired => "certificate_required",
        A::NoApplicationProtocol => "no_application_protocol",
        _ => "other",
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn chain_fault(error: &io::Error) -> Option<ChainFault> {
    tls_error(error).and_then(ChainFault::of)
}

/// A short word for the metric; the log has the whole error.
fn reason(error: &io::Error) -> &'static str {
    if let Some(fault) = chain_fault(error) {
        return fault.as_str();
    }
    match tls_error(error) {
        Some(Error::InvalidCertificate(_)) => "certificate_refused",
        Some(Error::NoCertificatesPresented) => "no_certificate",
        Some(Error::AlertReceived(_)) => "alert_received",
        Some(_) => "tls",
        None => "connection_lost",
    }
}
