//! How much of a certificate chain is looked at before any of its signatures is.
//!
//! In: the chain that a peer sent, leaf first, and the bounds. Out: nothing. Refused: what no real hierarchy
//! needs and what costs us time to verify, for it costs a stranger nothing to send.

use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use crate::{
    config::{ByteSize, Source},
    identity::{Certificate, PublicKeyKind},
};

/// RSA keys below this are refused by the signature verification (NIST SP 800-131A).
const LEAST_RSA_BITS: usize = 2048;
/// The largest modulus that the crypto library verifies with.
const MOST_RSA_BITS: usize = 8192;
/// Exponents: odd, at least 3, at most 33 bits. 65537 is everybody's; a long one makes verifying as slow as signing.
const RSA_EXPONENTS: std::ops::RangeInclusive<u64> = 3..=(1 << 33) - 1;

/// The table `[limits.chain]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainLimits {
    /// Certificates beside the leaf.
    pub intermediates: usize,
    /// Bytes of all certificates together.
    pub bytes: ByteSize,
    /// Subject alternative names of one certificate.
    pub names: usize,
    /// Bits of an RSA key's modulus.
    pub rsa_bits: usize,
}

impl Default for ChainLimits {
    fn default() -> Self {
        Self { intermediates: 6, bytes: ByteSize::kib(32), names: 100, rsa_bits: 4096 }
    }
}

impl ChainLimits {
    /// Records bounds that cannot work.
    pub fn check(&self, source: &mut Source) {
        if !(1024..=64 * 1024).contains(&self.bytes.0) {
            source.fault("limits.chain.bytes", "must lie between 1KiB and 64KiB, which is TLS's own bound");
        }
        if self.names == 0 {
            source.fault("limits.chain.names", "must be at least 1");
        }
        if !(LEAST_RSA_BITS..=MOST_RSA_BITS).contains(&self.rsa_bits) {
            source.fault("limits.chain.rsa_bits", "must lie between 2048 and 8192");
        }
    }
}

/// Why a chain is refused unverified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Too many certificates.
    #[error("the chain has {0} certificates beside the leaf; limits.chain.intermediates allows fewer")]
    Depth(usize),
    /// Too many bytes.
    #[error("the chain has {0} bytes; limits.chain.bytes allows fewer")]
    Bytes(usize),
    /// Too many subject alternative names.
    #[error("a certificate of the chain has {0} subject alternative names; limits.chain.names allows fewer")]
    Names(usize),
    /// An RSA modulus of a forbidden size.
    #[error(
        "a certificate of the chain has an RSA key of {0} bits; 2048 to limits.chain.rsa_bits are allowed"
    )]
    RsaModulus(usize),
    /// An RSA exponent that is even, too small or too large.
    #[error(
        "a certificate of the chain has an RSA key with a public exponent that is even, below 3 or above 33 bits"
    )]
    RsaExponent,
    /// Not a certificate.
    #[error("a certificate of the chain does not parse")]
    Malformed,
}

impl ChainFault {
    /// The word of it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Depth(_) => "chain_depth",
            Self::Bytes(_) => "chain_bytes",
            Self::Names(_) => "chain_names",
            Self::RsaModulus(_) => "rsa_modulus",
            Self::RsaExponent => "rsa_exponent",
            Self::Malformed => "chain_malformed",
        }
    }

    /// The fault behind a refused handshake, if it was one.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            // an alert of its own, so it is no fault of ours in disguise
            Error::InvalidCertificate(CertificateError::BadEncoding) => Some(Self::Malformed),
            Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref().copied(),
            _ => None,
        }
    }
}

impl From<ChainFault> for Error {
    fn from(fault: ChainFault) -> Self {
        let reason = match fault {
            ChainFault::Malformed => CertificateError::BadEncoding,
            fault => CertificateError::Other(OtherError(Arc::new(fault))),
        };
        Self::InvalidCertificate(reason)
    }
}

/// Holds a chain, leaf first, to the bounds. What is cheap to look at is looked at first.
pub fn check_chain(chain: &[&CertificateDer<'_>], limits: &ChainLimits) -> Result<(), ChainFault> {
    let intermediates = chain.len().saturating_sub(1);
    if intermediates > limits.intermediates {
        return Err(ChainFault::Depth(intermediates));
    }
    let bytes = chain.iter().map(|certificate| certificate.len()).sum();
    if bytes > limits.bytes.0 {
        return Err(ChainFault::Bytes(bytes));
    }
    chain.iter().try_for_each(|der| {
        let certificate = Certificate::parse(der).map_err(|_| ChainFault::Malformed)?;
        if certificate.names > limits.names {
            return Err(ChainFault::Names(certificate.names));
        }
        check_key(certificate.key, limits)
    })
}

fn check_key(key: PublicKeyKind, limits: &ChainLimits) -> Result<(), ChainFault> {
    let PublicKeyKind::Rsa { bits, exponent } = key else { return Ok(()) };
    if !(LEAST_RSA_BITS..=limits.rsa_bits).contains(&bits) {
        return Err(ChainFault::RsaModulus(bits));
    }
    match exponent {
        Some(exponent) if RSA_EXPONENTS.contains(&exponent) && exponent % 2 == 1 => Ok(()),
        _ => Err(ChainFault::RsaExponent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_are_bounded_in_modulus_and_exponent() {
        let limits = ChainLimits::default();
        let modulus = |bits| Err(ChainFault::RsaModulus(bits));
        for (bits, exponent, expected) in [
            (2048, Some(65537), Ok(())),
            (4096, Some(3), Ok(())),
            (4096, Some((1 << 33) - 1), Ok(())),
            (2047, Some(65537), modulus(2047)),
            (1024, Some(65537), modulus(1024)),
            (0, Some(65537), modulus(0)),
            (4097, Some(65537), modulus(4097)),
            (16384, Some(65537), modulus(16384)),
            (2048, Some(0), Err(ChainFault::RsaExponent)),
            (2048, Some(1), Err(ChainFault::RsaExponent)),
            (2048, Some(2), Err(ChainFault::RsaExponent)),
            (2048, Some(65536), Err(ChainFault::RsaExponent)),
            (2048, Some(1 << 33), Err(ChainFault::RsaExponent)),
            (2048, None, Err(ChainFault::RsaExponent)),
        ] {
            let key = PublicKeyKind::Rsa { bits, exponent };
            assert_eq!(check_key(key, &limits), expected, "{bits} {exponent:?}");
        }
        assert_eq!(check_key(PublicKeyKind::Other, &limits), Ok(()));
        let wider = ChainLimits { rsa_bits: 8192, ..limits };
        assert_eq!(check_key(PublicKeyKind::Rsa { bits: 8192, exponent: Some(65537) }, &wider), Ok(()));
    }

    #[test]
    fn a_chain_is_counted_and_weighed_before_it_is_parsed() {
        let junk = CertificateDer::from(vec![0; 1000]);
        let chain = |certificates: usize| vec![&junk; certificates];
        let limits = ChainLimits { bytes: ByteSize(3000), ..ChainLimits::default() };
        assert_eq!(check_chain(&chain(8), &limits), Err(ChainFault::Depth(7)));
        assert_eq!(check_chain(&chain(4), &limits), Err(ChainFault::Bytes(4000)));
        assert_eq!(check_chain(&chain(3), &limits), Err(ChainFault::Malformed));
    }

    #[test]
    fn a_fault_is_found_again_behind_the_refused_handshake() {
        for fault in [ChainFault::RsaExponent, ChainFault::Depth(9), ChainFault::Malformed] {
            assert_eq!(ChainFault::of(&Error::from(fault)), Some(fault));
        }
        assert_eq!(ChainFault::of(&Error::NoCertificatesPresented), None);
    }
}
