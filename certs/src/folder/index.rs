//! The index: every certificate that was ever signed, in `issued/SERIAL.crt`.
//!
//! A certificate says all there is to know of its issuing, and the revocation lists say the rest, so the index is no
//! record of its own that could contradict them. Each file is written once and never changed. A file exists before
//! anybody gets its certificate, so that none is unknown when it has to be revoked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use shared::identity::{Certificate, Fingerprint, Name, Workload};

use super::{FolderError, entries, folder_of};
use crate::{
    Authority, Ca, Leaf,
    files::{Readers, create_folder, write_new},
    hex::hex,
};

/// A certificate that was signed here.
#[derive(Debug, Clone)]
pub struct Known {
    /// Whom it was issued to.
    pub holder: Workload,
    /// The CA that signed it.
    pub ca: Ca,
    /// What it says.
    pub facts: Certificate,
    /// The certificate alone, PEM.
    pub pem: String,
    /// It lies in its holder's folder: no renewal has replaced it.
    pub current: bool,
}

/// All certificates that were signed here, by holder and age.
#[derive(Debug)]
pub struct Index(Vec<Known>);

impl Index {
    /// Reads the index of the CA in `dir`. Certificates in holders' folders count too, so that one that was restored
    /// without `issued/` loses nothing.
    pub fn read(dir: &Path, authority: &Authority) -> Result<Self, FolderError> {
        let mut known: Vec<Known> = Vec::new();
        for path in entries(&dir.join("issued"))? {
            known.extend(read(&path, authority)?);
        }
        for folder in holders(dir)? {
            let Some(name) = folder.file_name().map(|name| name.to_string_lossy().into_owned()) else {
                continue;
            };
            let path = folder.join(format!("{name}.crt"));
            let Some(mut found) = path.exists().then(|| read(&path, authority)).transpose()?.flatten() else {
                continue;
            };
            // a certificate that was copied into somebody else's folder is not that one's
            found.current = folder == folder_of(dir, &found.holder);
            match known.iter_mut().find(|one| one.facts.serial == found.facts.serial) {
                Some(one) => one.current |= found.current,
                None => known.push(found),
            }
        }
        known.sort_by_cached_key(|one| (title(&one.holder), one.facts.validity.not_before));
        Ok(Self(known))
    }

    /// All of them, by holder, the oldest of each first.
    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.0.iter()
    }

    /// A holder's certificates, the oldest first.
    pub fn of(&self, holder: &Workload) -> impl Iterator<Item = &Known> {
        self.0.iter().filter(move |one| one.holder == *holder)
    }

    /// The certificate with this fingerprint.
    #[must_use]
    pub fn by_fingerprint(&self, fingerprint: Fingerprint) -> Option<&Known> {
        self.0.iter().find(|one| one.facts.fingerprint == fingerprint)
    }

    /// The certificate with this serial number (hex, in any case, colons and leading zeros do not count).
    #[must_use]
    pub fn by_serial(&self, written: &str) -> Option<&Known> {
        let digits = written.trim().trim_start_matches("serial=").replace(':', "").to_uppercase();
        let digits = digits.trim_start_matches("0X").trim_start_matches('0');
        self.0.iter().find(|one| one.serial().trim_start_matches('0') == digits)
    }
}

impl Known {
    /// The serial number in hex, as `openssl x509 -serial` writes it.
    #[must_use]
    pub fn serial(&self) -> String {
        serial(&self.facts)
    }

    /// Its holder's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        let (Workload::Client(name) | Workload::Service(_, name)) = &self.holder;
        name
    }
}

/// Puts a certificate into the index. Refuses a serial number that is there already.
pub(super) fn record(dir: &Path, leaf: &Leaf) -> Result<PathBuf, FolderError> {
    let folder = dir.join("issued");
    create_folder(&folder).map_err(|error| FolderError::Write(folder.clone(), error))?;
    let path = folder.join(format!("{}.crt", serial(leaf.facts())));
    write_new(&path, leaf.own_pem().as_bytes(), Readers::Everybody)
        .map_err(|error| FolderError::Write(path.clone(), error))?;
    Ok(path)
}

/// In upper-case hex.
pub(crate) fn serial(facts: &Certificate) -> String {
    hex(&facts.serial)
}

/// The first certificate of a file, if this authority issued it to somebody.
fn read(path: &Path, authority: &Authority) -> Result<Option<Known>, FolderError> {
    let pem = fs::read_to_string(path).map_err(|error| FolderError::Read(path.to_owned(), error))?;
    let content = |error| FolderError::Content(path.to_owned(), Box::new(error));
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| content(error.into()))?;
    let facts = Certificate::parse(&der).map_err(|error| content(error.into()))?;
    let holder = facts.spiffe.as_ref().map(|id| id.workload.clone());
    let (Some(holder), Some(ca)) = (holder, authority.issuer_of(&facts)) else { return Ok(None) };
    Ok(Some(Known { holder, ca, facts, pem: crate::leaf::first_pem(&pem).to_owned(), current: false }))
}

/// Every holder's folder.
fn holders(dir: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let mut folders = entries(&dir.join("clients"))?;
    for role in entries(&dir.join("services"))? {
        folders.extend(entries(&role)?);
    }
    Ok(folders)
}

fn title(holder: &Workload) -> String {
    match holder {
        Workload::Client(name) => format!("client/{name}"),
        Workload::Service(role, name) => format!("{role}/{name}"),
    }
}
