//! What is true of a certificate, whatever is in it.
//!
//! In: bytes of anybody. Out: nothing, or a panic that says which claim they break. The tests here call this with distorted
//! certificates, the fuzz targets in `fuzz/` with theirs; no binary of ours has it.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{Certificate, Fingerprint};

/// A certificate is read in one way: whatever is appended makes it none, its SPIFFE id is read back as it is written,
/// and webpki, which verifies its path, sees the same names, number and key.
///
/// # Panics
/// If it is not so.
pub fn certificate(der: &[u8]) {
    let longer = CertificateDer::from([der, &[0]].concat());
    let der = CertificateDer::from(der);
    let Ok(ours) = Certificate::parse(&der) else { return };
    assert!(Certificate::parse(&longer).is_err(), "something follows its end");
    assert_eq!(ours.fingerprint, Fingerprint::of_der(&der));
    assert_ne!(ours.serial.first(), Some(&0), "a serial number with leading zeros");
    if let Some(id) = &ours.spiffe {
        assert_eq!(id.to_string().parse().as_ref(), Ok(id));
    }
    let Ok(theirs) = EndEntityCert::try_from(&der) else { return };
    assert!(ours.subject.ends_with(theirs.subject()), "two subjects");
    assert!(ours.issuer.ends_with(theirs.issuer()), "two issuers");
    let zeros = theirs.serial().iter().take_while(|byte| **byte == 0).count();
    assert_eq!(ours.serial, theirs.serial()[zeros..], "two serial numbers");
    assert_eq!(ours.public_key, theirs.subject_public_key_info().as_ref(), "two keys");
    let ids: Vec<_> = theirs.valid_uri_names().filter_map(|uri| uri.parse().ok()).collect();
    assert_eq!(ours.spiffe.as_slice(), ids, "two SPIFFE ids");
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    const LEAF: &[u8] = include_bytes!("../../../fuzz/seeds/certificate/client");

    #[test]
    fn a_certificate_whose_names_or_key_are_read_in_part_only_is_none() {
        assert!(Certificate::parse(&LEAF.into()).is_ok());
        // the tag of the second part of the issuer's name, that of the subject's, and the length of the key itself
        let key = LEAF.windows(4).position(|bytes| bytes == [0x03, 0x42, 0, 4]).unwrap() + 1;
        for (at, was, becomes) in [(73, 0x31, 0), (163, 0x31, 0), (key, 0x42, 1)] {
            let mut der = LEAF.to_vec();
            assert_eq!(std::mem::replace(&mut der[at], becomes), was);
            assert!(Certificate::parse(&der.as_slice().into()).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn a_distorted_certificate_is_none_or_another_one_and_read_in_one_way(
            changes in vec((any::<Index>(), any::<u8>()), 1..4), end in any::<Index>(), cut in any::<bool>(),
        ) {
            let mut der = LEAF.to_vec();
            for (index, byte) in changes {
                *index.get_mut(&mut der) = byte;
            }
            der.truncate(if cut { end.index(der.len()) } else { der.len() });
            certificate(&der);
            if let Ok(other) = Certificate::parse(&der.as_slice().into()) {
                prop_assert_eq!(other.fingerprint == Fingerprint::of_der(LEAF), der == LEAF);
            }
        }
    }
}
