//! The entries of one list, as a sorted set of serial numbers.
//!
//! In: the contents of `revokedCertificates` (RFC 5280 §5.1.2.6). Out: 28 bytes per entry, and nothing else kept.
//! Refused: entries that name another issuer, critical extensions that are not understood, serial numbers of
//! more than 20 octets. An entry `removeFromCRL` revokes nothing.

use super::{
    CrlFault,
    der::{ENUMERATED, INTEGER, Reader, SEQUENCE, seconds},
    list::extensions,
    number::padded,
};

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

/// The revoked serial numbers of one issuer.
#[derive(Debug)]
pub(super) struct Entries(Box<[Entry]>);

impl Entries {
    pub(super) fn read(list: &[u8]) -> Result<Self, CrlFault> {
        let mut entries = Vec::with_capacity(count(list)?);
        let mut reader = Reader::of(list);
        while !reader.is_empty() {
            entries.extend(entry(reader.expect(SEQUENCE, "an entry that is no SEQUENCE")?)?);
        }
        // Of several entries for one serial number the earliest is kept: it stands first.
        entries.sort_unstable();
        entries.dedup_by_key(|entry| entry.serial);
        Ok(Self(entries.into_boxed_slice()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The entry of a serial number (big-endian, without leading zeros).
    pub(super) fn find(&self, serial: &[u8]) -> Option<CrlEntry> {
        let serial = padded(serial)?;
        let found = self.0.binary_search_by(|entry| entry.serial.cmp(&serial)).ok()?;
        let entry = &self.0[found];
        let reason = REASONS.get(usize::from(entry.reason)).copied().unwrap_or(REASONS[0]);
        Some(CrlEntry { revoked_at: i64::from(entry.revoked_at), reason })
    }
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
