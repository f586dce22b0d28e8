//! Revocation lists of any shape, signed with a real key: what no proper authority would make.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use certs::Issuer;
use time::{Duration, OffsetDateTime};

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub(crate) const KEY_COMPROMISE: u8 = 1;
pub(crate) const REMOVE_FROM_CRL: u8 = 8;

/// A list that can be distorted in every part before it is signed.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) version: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) this_update: OffsetDateTime,
    pub(crate) next_update: Option<OffsetDateTime>,
    pub(crate) entries: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) inner_algorithm: Vec<u8>,
}

impl Forged {
    /// A proper list.
    pub(crate) fn of(issuer: &Issuer, number: u8) -> Self {
        let facts = issuer.facts();
        let key_id = tlv(0x80, facts.key_id.as_ref().unwrap());
        Self {
            version: tlv(0x02, &[1]),
            issuer: facts.subject.clone(),
            this_update: OffsetDateTime::now_utc() - Duration::minutes(1),
            next_update: Some(OffsetDateTime::now_utc() + Duration::days(7)),
            entries: Vec::new(),
            extensions: vec![
                extension(&[0x55, 0x1d, 0x23], false, &tlv(0x30, &key_id)),
                extension(&[0x55, 0x1d, 0x14], false, &tlv(0x02, &[number])),
            ],
            inner_algorithm: algorithm(),
        }
    }

    pub(crate) fn entry(mut self, entry: &[u8]) -> Self {
        self.entries.extend_from_slice(entry);
        self
    }

    pub(crate) fn extension(mut self, id: &[u8], critical: bool, value: &[u8]) -> Self {
        self.extensions.push(extension(id, critical, value));
        self
    }

    pub(crate) fn signed_by(&self, issuer: &Issuer) -> Vec<u8> {
        let mut list = [self.version.clone(), self.inner_algorithm.clone(), self.issuer.clone()].concat();
        list.extend(moment(self.this_update));
        list.extend(self.next_update.map(moment).unwrap_or_default());
        if !self.entries.is_empty() {
            list.extend(tlv(0x30, &self.entries));
        }
        if !self.extensions.is_empty() {
            list.extend(tlv(0xa0, &tlv(0x30, &self.extensions.concat())));
        }
        sign(&tlv(0x30, &list), issuer)
    }
}

/// What is to be signed, its algorithm and an issuer's signature of it.
pub(crate) fn sign(to_be_signed: &[u8], issuer: &Issuer) -> Vec<u8> {
    let key = issuer.key().unwrap().der().unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_der()).unwrap();
    let signature = key.sign(&SystemRandom::new(), to_be_signed).unwrap();
    let signature = tlv(0x03, &[&[0], signature.as_ref()].concat());
    tlv(0x30, &[to_be_signed, &algorithm(), &signature].concat())
}

/// An entry with a reason.
pub(crate) fn entry(serial: &[u8], reason: u8) -> Vec<u8> {
    entry_with(serial, &extension(&[0x55, 0x1d, 0x15], false, &tlv(0x0a, &[reason])))
}

/// An entry with these extensions.
pub(crate) fn entry_with(serial: &[u8], extensions: &[u8]) -> Vec<u8> {
    let positive = if serial[0] & 0x80 == 0 { serial.to_vec() } else { [&[0], serial].concat() };
    let now = moment(OffsetDateTime::now_utc());
    tlv(0x30, &[tlv(0x02, &positive), now, tlv(0x30, extensions)].concat())
}

pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(0x01, &[0xff]) } else { Vec::new() };
    tlv(0x30, &[tlv(0x06, id), critical, tlv(0x04, value)].concat())
}

pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut whole = vec![tag];
    match length {
        [] => whole.push(0),
        [short] if *short < 0x80 => whole.push(*short),
        long => {
            whole.push(0x80 | u8::try_from(long.len()).unwrap());
            whole.extend_from_slice(long);
        }
    }
    whole.extend_from_slice(contents);
    whole
}

fn moment(at: OffsetDateTime) -> Vec<u8> {
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year() % 100, u8::from(date.month()), date.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    tlv(0x17, format!("{year:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z").as_bytes())
}

fn algorithm() -> Vec<u8> {
    tlv(0x30, &tlv(0x06, ECDSA_WITH_SHA256))
}
