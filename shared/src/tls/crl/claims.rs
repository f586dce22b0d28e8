//! What is true of a revocation list, whatever is in it.
//!
//! In: a CA's certificate, a list that it signed, and bytes of anybody. Out: nothing, or a panic that says which claim
//! they break. The tests here call this with distorted lists, the fuzz targets in `fuzz/` with theirs; no binary of ours
//! has it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    prelude::{CertificateRevocationList, FromDer},
    x509::ReasonCode,
};

use super::{CrlConfig, Crls, entries::Entries, list::Parsed};
use crate::identity::Certificate;

/// Only what the CA signed is accepted, and another reader of lists finds the same serial numbers in what is read here.
///
/// # Panics
/// If it is not so.
pub fn revocation_list(authority: &[u8], signed: &[u8], offered: &[u8]) {
    let authority = Certificate::parse(&CertificateDer::from(authority));
    let (Ok(authority), Ok(signed)) = (authority, Parsed::read(signed)) else {
        panic!("no list to begin with")
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(signed.this_update.unsigned_abs()));
    let crls = Crls::of([Arc::new(authority)], &CrlConfig::default(), now);
    let list = Parsed::read(offered);
    if let Ok(next) = crls.accept(offered, now) {
        assert!(next.is_some(), "in force before it was accepted");
        let accepted = list.as_ref().map(|list| list.signed);
        assert_eq!(accepted, Ok(signed.signed), "another list than the CA signed");
    }
    let Ok(list) = list else { return };
    let Ok(entries) = Entries::read(list.entries) else { return };
    assert!(list.this_update < list.next_update);
    if let Ok((_, other)) = CertificateRevocationList::from_der(offered) {
        check_entries(&entries, &other);
    }
}

fn check_entries(entries: &Entries, other: &CertificateRevocationList<'_>) {
    let mut revoked = HashSet::new();
    for entry in other.iter_revoked_certificates() {
        let serial = entry.raw_serial();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        let removed = entry.reason_code().is_some_and(|(_, reason)| reason == ReasonCode::RemoveFromCRL);
        if !removed {
            assert!(entries.find(&serial[zeros..]).is_some(), "a revoked certificate is not found");
            revoked.insert(&serial[zeros..]);
        }
    }
    assert_eq!(entries.len(), revoked.len(), "another number of revoked certificates");
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    const AUTHORITY: &[u8] = include_bytes!("../../../../fuzz/seeds/certificate/clients_ca");
    const SIGNED: &[u8] = include_bytes!("../../../../fuzz/seeds/revocation_list/revoked");

    #[test]
    fn the_list_itself_is_accepted() {
        let authority = Certificate::parse(&CertificateDer::from(AUTHORITY)).unwrap();
        let now = Parsed::read(SIGNED).unwrap().this_update.unsigned_abs();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let crls = Crls::of([Arc::new(authority)], &CrlConfig::default(), now);
        assert!(crls.accept(SIGNED, now).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn a_list_that_is_cut_or_distorted_is_never_accepted_as_another(
            changes in vec((any::<Index>(), any::<u8>()), 0..3), end in any::<Index>(), cut in any::<bool>(),
        ) {
            let mut offered = SIGNED.to_vec();
            for (index, byte) in changes {
                *index.get_mut(&mut offered) = byte;
            }
            offered.truncate(if cut { end.index(offered.len()) } else { offered.len() });
            revocation_list(AUTHORITY, SIGNED, &offered);
        }

        #[test]
        fn a_list_put_together_from_parts_of_the_true_one_is_not_accepted(
            from in any::<Index>(), length in 1..60_usize, to in any::<Index>(),
        ) {
            let (from, to) = (from.index(SIGNED.len() - length), to.index(SIGNED.len() - length));
            let mut offered = SIGNED.to_vec();
            offered[to..to + length].copy_from_slice(&SIGNED[from..from + length]);
            revocation_list(AUTHORITY, SIGNED, &offered);
        }
    }
}
