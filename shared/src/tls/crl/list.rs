//! One list, read and checked as far as it can be without knowing its issuer (RFC 5280 §5.1, §5.2).
//!
//! In: DER. Out: its parts, as slices. Refused: version 1, no number, no nextUpdate, delta, indirect and partial
//! lists, critical extensions that are not understood.

use x509_parser::der_parser::oid::Oid;

use super::{
    CrlFault,
    der::{
        BIT_STRING, BOOLEAN, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE,
        UTC_TIME, seconds,
    },
    number::CrlNumber,
};

const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
const DELTA_INDICATOR: &[u8] = &[0x55, 0x1d, 0x1b];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];

/// `crlExtensions`.
const EXTENSIONS: u8 = 0xa0;
/// `keyIdentifier` of an authority key identifier.
const KEY_ID: u8 = 0x80;

/// The parts of a list that nobody has verified yet.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// What is signed.
    pub(super) signed: &'a [u8],
    /// The contents of the `AlgorithmIdentifier`.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// The issuer's name, DER.
    pub(super) issuer: &'a [u8],
    /// The issuer's key, if the list names it.
    pub(super) key_id: Option<&'a [u8]>,
    pub(super) number: CrlNumber,
    /// Unix seconds.
    pub(super) this_update: i64,
    /// Unix seconds.
    pub(super) next_update: i64,
    /// Which part of the issuer's certificates it is for: the issuing distribution point.
    pub(super) scope: Option<&'a [u8]>,
    /// It is complete only for an issuer that issues no CA certificates.
    pub(super) users_only: bool,
    /// The contents of `revokedCertificates`.
    pub(super) entries: &'a [u8],
}

impl<'a> Parsed<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, CrlFault> {
        let mut outer = Reader::of(der);
        let mut list = Reader::of(outer.expect(SEQUENCE, "no CertificateList")?);
        outer.end()?;
        let signed = list.element()?;
        let algorithm = list.expect(SEQUENCE, "no signature algorithm")?;
        let signature = bits(list.expect(BIT_STRING, "no signature")?)?;
        list.end()?;

        if signed.tag != SEQUENCE {
            return Err(CrlFault::Malformed("no TBSCertList"));
        }
        let mut tbs = Reader::of(signed.contents);
        if tbs.optional(INTEGER)? != Some(&[1]) {
            return Err(CrlFault::Version);
        }
        // RFC 5280 §5.1.1.2: what is signed must name the same algorithm.
        if tbs.expect(SEQUENCE, "no signature algorithm")? != algorithm {
            return Err(CrlFault::Malformed("it names two signature algorithms"));
        }
        let issuer = tbs.element()?;
        let this_update = seconds(tbs.element()?)?;
        let next_update = match tbs.next_tag() {
            Some(UTC_TIME | GENERALIZED_TIME) => seconds(tbs.element()?)?,
            _ => return Err(CrlFault::NextUpdate),
        };
        if next_update <= this_update {
            return Err(CrlFault::NextUpdate);
        }
        let entries = tbs.optional(SEQUENCE)?.unwrap_or_default();
        let extensions = tbs.optional(EXTENSIONS)?.ok_or(CrlFault::NoNumber)?;
        tbs.end()?;
        let mut extensions_reader = Reader::of(extensions);
        let facts = Facts::read(extensions_reader.expect(SEQUENCE, "extensions that are no SEQUENCE")?)?;
        extensions_reader.end()?;
        Ok(Self {
            signed: signed.whole,
            algorithm,
            signature,
            issuer: issuer.whole,
            key_id: facts.key_id,
            number: facts.number.ok_or(CrlFault::NoNumber)?,
            this_update,
            next_update,
            scope: facts.scope,
            users_only: facts.users_only,
            entries,
        })
    }
}

/// What the extensions of a list say.
#[derive(Default)]
struct Facts<'a> {
    key_id: Option<&'a [u8]>,
    number: Option<CrlNumber>,
    scope: Option<&'a [u8]>,
    users_only: bool,
}

impl<'a> Facts<'a> {
    fn read(contents: &'a [u8]) -> Result<Self, CrlFault> {
        let mut facts = Self::default();
        for extension in extensions(contents) {
            let extension = extension?;
            let mut value = Reader::of(extension.value);
            match extension.id {
                AUTHORITY_KEY_ID => {
                    let mut id = Reader::of(value.expect(SEQUENCE, "an authority key identifier")?);
                    facts.key_id = id.optional(KEY_ID)?;
                }
                CRL_NUMBER => {
                    facts.number = Some(CrlNumber::read(value.expect(INTEGER, "a CRLNumber")?)?);
                }
                DELTA_INDICATOR => return Err(CrlFault::Delta),
                ISSUING_DISTRIBUTION_POINT => {
                    facts.scope = Some(extension.value);
                    facts.users_only = covers(value.expect(SEQUENCE, "an issuing distribution point")?)?;
                }
                _ if extension.critical => return Err(extension.not_understood()),
                _ => continue,
            }
            value.end()?;
        }
        Ok(facts)
    }
}

/// What an issuing distribution point (RFC 5280 §5.2.5) leaves of a list: true if there are no CA certificates
/// on it. Everything narrower is refused.
fn covers(contents: &[u8]) -> Result<bool, CrlFault> {
    let mut reader = Reader::of(contents);
    let mut users_only = false;
    while !reader.is_empty() {
        let part = reader.element()?;
        let yes = part.contents.iter().any(|byte| *byte != 0);
        match part.tag {
            // distributionPoint: where the list is published
            0xa0 => {}
            0x81 => users_only = yes,
            0x84 if yes => return Err(CrlFault::Indirect),
            0x82 | 0x84 | 0x85 if !yes => {}
            _ => return Err(CrlFault::Partial),
        }
    }
    Ok(users_only)
}

/// One extension of a list or of an entry.
#[derive(Debug, Clone)]
pub(super) struct Extension<'a> {
    /// The contents of its OBJECT IDENTIFIER.
    pub(super) id: &'a [u8],
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl Extension<'_> {
    pub(super) fn not_understood(&self) -> CrlFault {
        CrlFault::CriticalExtension(Oid::new(self.id.into()).to_id_string())
    }
}

/// The extensions in the contents of `Extensions`. A repeated one ends the list.
pub(super) fn extensions(contents: &[u8]) -> impl Iterator<Item = Result<Extension<'_>, CrlFault>> {
    let mut reader = Reader::of(contents);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let extension = next_extension(&mut reader).and_then(|extension| {
            if repeats(reader, extension.id)? {
                return Err(CrlFault::Malformed("an extension stands twice"));
            }
            Ok(extension)
        });
        if extension.is_err() {
            reader = Reader::of(&[]);
        }
        Some(extension)
    })
}

fn repeats(mut following: Reader<'_>, id: &[u8]) -> Result<bool, CrlFault> {
    while !following.is_empty() {
        if next_extension(&mut following)?.id == id {
            return Ok(true);
        }
    }
    Ok(false)
}

fn next_extension<'a>(reader: &mut Reader<'a>) -> Result<Extension<'a>, CrlFault> {
    let mut extension = Reader::of(reader.expect(SEQUENCE, "an extension that is no SEQUENCE")?);
    let id = extension.expect(OBJECT_IDENTIFIER, "an extension without an identifier")?;
    let critical = extension.optional(BOOLEAN)?.is_some_and(|flag| flag.iter().any(|byte| *byte != 0));
    let value = extension.expect(OCTET_STRING, "an extension without a value")?;
    extension.end()?;
    Ok(Extension { id, critical, value })
}

/// The bytes of a BIT STRING that has no unused bits.
pub(super) fn bits(contents: &[u8]) -> Result<&[u8], CrlFault> {
    match contents {
        [0, bytes @ ..] => Ok(bytes),
        _ => Err(CrlFault::Malformed("a BIT STRING that is not made of bytes")),
    }
}
