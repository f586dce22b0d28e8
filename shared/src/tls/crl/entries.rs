//! The entries of one list, as a set of serial numbers.
//!
//! In: the contents of `revokedCertificates` (RFC 5280 §5.1.2.6). Out: 29 bytes per entry, and nothing else kept; 28 more
//! while they are sorted.
//! Refused: entries that name another issuer, critical extensions that are not understood, serial numbers of
//! more than 20 octets. An entry `removeFromCRL` revokes nothing.

use super::{
    CrlFault,
    der::{ENUMERATED, INTEGER, Reader, SEQUENCE, seconds},
    list::extensions,
    number::padded,
};
use crate::background::pause;

/// Why and when a certificate was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlEntry {
    /// Unix seconds.
    pub revoked_at: i64,
    /// By the words of RFC 5280 §5.3.1.
    pub reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    serial: [u8; 20],
    /// Unix seconds, until 2106.
    revoked_at: u32,
    reason: u8,
}

/// By `CRLReason`; 7 is not used.
const REASONS: [&str; 11] = [
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "unspecified",
    "removeFromCRL",
    "privilegeWithdrawn",
    "aACompromise",
];
const REMOVE_FROM_CRL: u8 = 8;

/// id-ce-cRLReasons, id-ce-invalidityDate, id-ce-certificateIssuer.
const REASON_CODE: &[u8] = &[0x55, 0x1d, 0x15];
const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 0x18];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 0x1d];

/// The revoked serial numbers of one issuer: sorted by bucket, and within a bucket by serial number. A search in
/// a million of them would miss the cache twenty times, one in a bucket misses it three times.
#[derive(Debug)]
pub(super) struct Entries {
    sorted: Box<[Entry]>,
    /// Where each bucket begins, and where the last one ends.
    starts: Box<[u32]>,
    /// Serial numbers are told apart by this many bits of their mixture.
    bits: u32,
}

/// So many entries are read in a millisecond, and then the requests have the processor's caches for another one.
const STEP: usize = 4096;
/// So many are counted or put in their places.
const PLACED: usize = 8 * STEP;
/// Entries of a bucket, on average.
const FILL: usize = 4;

impl Entries {
    pub(super) fn read(list: &[u8]) -> Result<Self, CrlFault> {
        let mut entries = Vec::with_capacity(count(list)?);
        let mut reader = Reader::of(list);
        while !reader.is_empty() {
            for _ in 0..STEP {
                entries.extend(entry(reader.expect(SEQUENCE, "an entry that is no SEQUENCE")?)?);
                if reader.is_empty() {
                    break;
                }
            }
            pause();
        }
        let bits = (entries.len() / FILL).max(2).ilog2();
        let (sorted, starts) = sort(&entries, bits)?;
        Ok(Self { sorted: sorted.into(), starts: starts.into(), bits })
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The entry of a serial number (big-endian, without leading zeros).
    pub(super) fn find(&self, serial: &[u8]) -> Option<CrlEntry> {
        let serial = padded(serial)?;
        let bucket = bucket(&serial, self.bits);
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let bucket = &self.sorted[start..end];
        let entry = &bucket[bucket.binary_search_by(|entry| entry.serial.cmp(&serial)).ok()?];
        let reason = REASONS.get(usize::from(entry.reason)).copied().unwrap_or(REASONS[0]);
        Some(CrlEntry { revoked_at: i64::from(entry.revoked_at), reason })
    }
}

/// Sorts by bucket, and within a bucket by serial number; answers, too, where each bucket begins and the last one ends.
/// Buckets are counted out: a sort that compares takes four times as long, and cannot pause.
fn sort(entries: &[Entry], bits: u32) -> Result<(Vec<Entry>, Vec<u32>), CrlFault> {
    // Serial numbers take at least five bytes of an input whose length fits into four.
    let position = |index| u32::try_from(index).map_err(|_| CrlFault::Malformed("it is too long"));
    position(entries.len())?;
    let mut starts = vec![0; (1 << bits) + 1];
    for step in entries.chunks(PLACED) {
        for entry in step {
            starts[bucket(&entry.serial, bits)] += 1;
        }
        pause();
    }
    let mut end = 0;
    for count in &mut starts {
        end += *count;
        *count = end;
    }
    // each bucket is filled from its end, so that what was its end becomes its beginning
    let mut sorted = entries.to_vec();
    for step in entries.chunks(PLACED) {
        for entry in step {
            let place = &mut starts[bucket(&entry.serial, bits)];
            *place -= 1;
            sorted[*place as usize] = *entry;
        }
        pause();
    }
    let mut kept = 0;
    for bucket in 0..1 << bits {
        let (start, end) = (starts[bucket] as usize, starts[bucket + 1] as usize);
        sorted[start..end].sort_unstable();
        starts[bucket] = position(kept)?;
        for at in start..end {
            // Of several entries for one serial number the earliest is kept: it stands first.
            if at == start || sorted[at].serial != sorted[at - 1].serial {
                sorted[kept] = sorted[at];
                kept += 1;
            }
        }
        if bucket % STEP == 0 {
            pause();
        }
    }
    starts[1 << bits] = position(kept)?;
    sorted.truncate(kept);
    Ok((sorted, starts))
}

/// The first bits of a mixture of all bytes (Fibonacci hashing): CAs number at random, in sequence, or with a
/// common prefix. One that made all its numbers collide would only slow its own look-ups down, to a search.
fn bucket(serial: &[u8; 20], bits: u32) -> usize {
    let part = |at: usize| serial[at..at + 8].iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let mixed =
        (part(0).rotate_left(17) ^ part(4) ^ part(12).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> (64 - bits)).unwrap_or_default()
}

/// Counting first costs a fiftieth of reading, and spares the set the growth by doubling.
fn count(list: &[u8]) -> Result<usize, CrlFault> {
    let mut reader = Reader::of(list);
    let mut count = 0;
    while !reader.is_empty() {
        reader.element()?;
        count += 1;
    }
    Ok(count)
}

fn entry(contents: &[u8]) -> Result<Option<Entry>, CrlFault> {
    let mut reader = Reader::of(contents);
    let serial = reader.expect(INTEGER, "an entry without a serial number")?;
    let serial = padded(serial).ok_or(CrlFault::Serial)?;
    let revoked_at = u32::try_from(seconds(reader.element()?)?.max(0)).unwrap_or(u32::MAX);
    let extensions = reader.optional(SEQUENCE)?;
    reader.end()?;
    let reason = extensions.map_or(Ok(0), reason_in)?;
    Ok((reason != REMOVE_FROM_CRL).then_some(Entry { serial, revoked_at, reason }))
}

fn reason_in(contents: &[u8]) -> Result<u8, CrlFault> {
    let mut reason = 0;
    for extension in extensions(contents) {
        let extension = extension?;
        if extension.id == REASON_CODE {
            let mut reader = Reader::of(extension.value);
            // An unknown reason is no reason to let the certificate in.
            reason = match reader.expect(ENUMERATED, "a reason that is not ENUMERATED")? {
                [code] if usize::from(*code) < REASONS.len() => *code,
                _ => 0,
            };
            reader.end()?;
        } else if extension.id == CERTIFICATE_ISSUER {
            return Err(CrlFault::Indirect);
        } else if extension.critical && extension.id != INVALIDITY_DATE {
            return Err(extension.not_understood());
        }
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Entries without extensions, revoked so many seconds, below a minute, after the beginning of 1970.
    fn dated(entries: impl IntoIterator<Item = (Vec<u8>, u32)>) -> Vec<u8> {
        let entry = |(serial, second): (Vec<u8>, u32)| {
            let length = u8::try_from(serial.len()).unwrap();
            let date = format!("7001010000{second:02}Z");
            [&[SEQUENCE, length + 17, INTEGER, length], &serial[..], &[0x17, 13], date.as_bytes()].concat()
        };
        entries.into_iter().flat_map(entry).collect()
    }

    fn list(serials: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        dated(serials.into_iter().map(|serial| (serial, 0)))
    }

    fn number(number: u32) -> Vec<u8> {
        number.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
    }

    #[test]
    fn every_serial_number_is_found_however_its_ca_numbers_and_no_other_one() {
        let prefixed = |n: u32| [&[0x7a; 12][..], &n.to_be_bytes(), &[0; 4]].concat();
        let trailing = |n: u32| [&n.to_be_bytes()[..], &[0x55; 8]].concat();
        for of in [number, prefixed, trailing] {
            // with the last one, several steps of each kind
            for size in [0, 1, 2, 5, 64, 3001, 40_000] {
                let entries = Entries::read(&list((1..=size).map(of))).unwrap();
                assert_eq!(entries.len(), size as usize);
                let found = |n: u32| entries.find(&number_of(&of(n))).is_some();
                assert!((1..=size).all(found), "{size}");
                assert!(!(size + 1..=2 * size + 9).any(found), "{size}");
            }
        }
    }

    fn number_of(serial: &[u8]) -> Vec<u8> {
        serial.iter().copied().skip_while(|byte| *byte == 0).collect()
    }

    proptest! {
        #[test]
        fn of_several_entries_for_one_serial_number_the_earliest_counts_and_nothing_else_is_found(
            listed in vec((1..=200_u32, 0..60_u32), 0..300),
        ) {
            let entries = Entries::read(&dated(listed.iter().map(|(n, second)| (number(*n << 8), *second))));
            let entries = entries.unwrap();
            let mut earliest = BTreeMap::new();
            for (n, second) in &listed {
                let known = earliest.entry(*n).or_insert(*second);
                *known = *second.min(known);
            }
            prop_assert_eq!(entries.len(), earliest.len());
            for n in 1..=255 {
                let found = entries.find(&number(n << 8)).map(|entry| entry.revoked_at);
                prop_assert_eq!(found, earliest.get(&n).map(|second| i64::from(*second)));
            }
        }
    }
}
