//! The TLS handshake of a connection.
//!
//! In: an accepted socket. Out: a stream, and who is at its other end. Refused: whoever takes too long, or is not
//! believed; a refused peer gets to read its alert.

use std::{io, net::SocketAddr};

use rustls::Error;
use rustls_pki_types::UnixTime;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use super::{
    Door,
    linger::linger,
    metrics::{Bound, HandshakeFailure},
};
use crate::tls::{ChainFault, Peer, with_verified_peer};

impl Door {
    /// The handshake under its deadline.
    pub(super) async fn shake_hands(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let (tls, limits, door) = (self.tls.load_full(), &self.rules.limits, self.rules.door);
        let handshake = TlsAcceptor::from(tls.config.clone()).accept(socket).into_fallible();
        let outcome = timeout(limits.handshake.0, with_verified_peer(handshake)).await;
        let Ok((result, verified)) = outcome else {
            self.count_failure("timeout");
            return None;
        };
        let stream = match result {
            Ok(stream) => stream,
            Err((error, socket)) => {
                self.count_failure(reason(&error));
                if chain_fault(&error).is_some() {
                    self.rules.metrics.reached(door, Bound::Chain, remote.ip());
                }
                debug!(door, %remote, %error, "handshake failed");
                linger(socket, limits.linger.0).await;
                return None;
            }
        };
        if let Some(peer) = verified {
            return Some((stream, peer));
        }
        // A resumed session: rustls did not call the verifier, and what it would say may have changed.
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        match tls.verifier.verify(chain, UnixTime::now()) {
            Ok(peer) => Some((stream, peer)),
            Err(error) => {
                self.count_failure("resumed_untrusted");
                debug!(door, %remote, %error, "a resumed session's chain no longer verifies");
                None
            }
        }
    }

    pub(super) fn count_failure(&self, reason: &'static str) {
        let label = HandshakeFailure { door: self.rules.door, reason };
        self.rules.metrics.handshake_failures.get_or_create(&label).inc();
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
