//! The PKI on disk: the one place that knows which file lies where.
//!
//! `ca.toml` (settings), `ca.{crt,key}` (root), `clients-ca.*`, `services-ca.*`,
//! `crl/{root,revoked,services}.pem`, `clients/NAME/` and `services/ROLE/NAME/` with `NAME.crt` (leaf and issuing
//! CA), `NAME.key`, `ca.crt` (the root) and `fingerprint.txt`. Refused: to overwrite anything.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::KeyPair;
use serde::Deserialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    Authority, IssueError, Issuer, RevocationList, TrustDomain,
    authority::{CLIENTS, Crls, ROOT, SERVICES},
    files::{Readers, create_folder, replace, write_new},
};

mod holder;

pub use holder::{Staged, folder_of, vacant};

/// Why the folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No CA was made here.
    #[error("{} holds no certificate authority: run portcullis-certs init-ca first, or name its folder with --dir", .0.display())]
    NoAuthority(PathBuf),
    /// A new CA would invalidate every certificate of the old one.
    #[error("{} holds a certificate authority already, and a new one would invalidate every certificate it has issued: \
             choose another --dir", .0.display())]
    AuthorityExists(PathBuf),
    /// `init-ca` was killed, or the folder has been put to another use.
    #[error("{} is in the way, though ca.toml is missing: if init-ca was interrupted here, nothing has been issued yet; \
             remove the file and run it again", .0.display())]
    InTheWay(PathBuf),
    /// Issued before.
    #[error("{} exists: this name has a certificate already; choose another name, or move that folder away", .0.display())]
    NameTaken(PathBuf),
    /// The file of the certificate would be that of the root.
    #[error("`{0}` cannot be a name here: its certificate would take the place of ca.crt, the root")]
    ReservedName(String),
    /// A file or folder could not be written.
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// A file could not be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// `ca.toml` is not as `init-ca` writes it.
    #[error("{} is not as init-ca writes it", .0.display())]
    Settings(PathBuf, #[source] Box<toml::de::Error>),
    /// A file does not hold what it should.
    #[error("{} cannot be used", .0.display())]
    Content(PathBuf, #[source] Box<IssueError>),
}

/// What `ca.toml` holds. Written last by `init-ca`: where it lies, the CA is complete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    trust_domain: TrustDomain,
}

const SETTINGS: &str = "ca.toml";

/// Every file of the CA, in the order of writing. The root's key first: of two `init-ca` at once, one fails there.
/// The settings last: they say that all is there.
const FILES: [(&str, Readers); 10] = [
    ("ca.key", Readers::Owner),
    ("clients-ca.key", Readers::Owner),
    ("services-ca.key", Readers::Owner),
    ("ca.crt", Readers::Everybody),
    ("clients-ca.crt", Readers::Everybody),
    ("services-ca.crt", Readers::Everybody),
    ("crl/root.pem", Readers::Everybody),
    ("crl/revoked.pem", Readers::Everybody),
    ("crl/services.pem", Readers::Everybody),
    (SETTINGS, Readers::Everybody),
];

/// The lists, in the order of [`Authority::crls`].
const CRL_FILES: [&str; 3] = ["crl/root.pem", "crl/revoked.pem", "crl/services.pem"];

/// What became of a CA's revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It is good for a while yet.
    NotDue,
    /// Signed anew.
    Signed,
    /// Due, but the CA's key is not here.
    KeyAbsent,
}

impl Authority {
    /// Refuses a folder in which a CA lies already, whole or in part.
    pub fn vacant(dir: &Path) -> Result<(), FolderError> {
        if dir.join(SETTINGS).exists() {
            return Err(FolderError::AuthorityExists(dir.to_owned()));
        }
        let in_the_way = FILES.into_iter().map(|(name, _)| dir.join(name)).find(|path| path.exists());
        in_the_way.map_or(Ok(()), |path| Err(FolderError::InTheWay(path)))
    }

    /// Writes a new CA into `dir`, which is made if need be. On failure what was written is removed again.
    pub fn save(&self, dir: &Path) -> Result<(), FolderError> {
        Self::vacant(dir)?;
        let files = self.files();
        for folder in [dir.to_owned(), dir.join("crl"), dir.join("clients"), dir.join("services")] {
            create_folder(&folder).map_err(|error| FolderError::Write(folder, error))?;
        }
        for (written, (name, readers, contents)) in files.iter().enumerate() {
            let path = dir.join(name);
            if let Err(error) = write_new(&path, contents.as_bytes(), *readers) {
                for (name, ..) in &files[..written] {
                    let _ = fs::remove_file(dir.join(name));
                }
                return Err(FolderError::Write(path, error));
            }
        }
        Ok(())
    }

    /// Signs the lists that are past half of their life anew, or `all` of them, where the CA's key is here: the
    /// next number, the same entries. Each is in its file before the next one is signed. Answers what became of
    /// each CA's list.
    pub fn refresh_crls(
        &mut self,
        dir: &Path,
        all: bool,
    ) -> Result<[(&'static str, Refreshed); 3], FolderError> {
        let now = OffsetDateTime::now_utc();
        let mut outcomes = [("", Refreshed::NotDue); 3];
        for ((issuer, list), (file, outcome)) in
            self.lists_mut().into_iter().zip(CRL_FILES.into_iter().zip(&mut outcomes))
        {
            let half = list.this_update + (list.next_update - list.this_update) / 2;
            let refreshed = if !all && now < half {
                Refreshed::NotDue
            } else if issuer.key().is_none() {
                Refreshed::KeyAbsent
            } else {
                let path = dir.join(file);
                let next = issuer
                    .sign_next_crl(list, [])
                    .map_err(|error| FolderError::Content(path.clone(), Box::new(error)))?;
                replace(&path, next.pem().as_bytes(), Readers::Everybody)
                    .map_err(|error| FolderError::Write(path, error))?;
                *list = next;
                Refreshed::Signed
            };
            *outcome = (issuer.title(), refreshed);
        }
        Ok(outcomes)
    }

    /// What goes into each of [`FILES`]; nothing for a key that is not here.
    fn files(&self) -> Vec<(&'static str, Readers, Zeroizing<String>)> {
        let [root_crl, clients_crl, services_crl] = self.crls();
        let key = |issuer: &Issuer| issuer.key().map(|key| key.pem().to_owned());
        let certificate = |issuer: &Issuer| Some(issuer.certificate_pem().to_owned());
        // the trust domain consists of characters that need no escape
        let settings =
            format!("# written by portcullis-certs init-ca\ntrust_domain = \"{}\"\n", self.trust_domain());
        let contents = [
            key(self.root()),
            key(self.clients()),
            key(self.services()),
            certificate(self.root()),
            certificate(self.clients()),
            certificate(self.services()),
            Some(root_crl.pem().to_owned()),
            Some(clients_crl.pem().to_owned()),
            Some(services_crl.pem().to_owned()),
            Some(settings),
        ];
        let files = FILES.into_iter().zip(contents);
        files
            .filter_map(|((name, readers), contents)| Some((name, readers, Zeroizing::new(contents?))))
            .collect()
    }

    /// Reads a CA back. Only the certificates and lists must be there: a key that was taken away is missed when
    /// something is to be signed with it.
    pub fn load(dir: &Path) -> Result<Self, FolderError> {
        let path = dir.join(SETTINGS);
        if !path.exists() {
            return Err(FolderError::NoAuthority(dir.to_owned()));
        }
        let settings: Settings =
            toml::from_str(&read(&path)?).map_err(|error| FolderError::Settings(path, Box::new(error)))?;
        let issuers = [
            issuer(dir, ROOT, "ca")?,
            issuer(dir, CLIENTS, "clients-ca")?,
            issuer(dir, SERVICES, "services-ca")?,
        ];
        let crls = Crls {
            root: crl(&dir.join(CRL_FILES[0]))?,
            clients: crl(&dir.join(CRL_FILES[1]))?,
            services: crl(&dir.join(CRL_FILES[2]))?,
        };
        Ok(Self::from_parts(settings.trust_domain, issuers, crls))
    }
}

fn issuer(dir: &Path, title: &'static str, stem: &str) -> Result<Issuer, FolderError> {
    let certificate = dir.join(format!("{stem}.crt"));
    let key_path = dir.join(format!("{stem}.key"));
    let key = match fs::read_to_string(&key_path).map(Zeroizing::new) {
        Ok(pem) => Some(
            KeyPair::from_pem(&pem)
                .map_err(|error| FolderError::Content(key_path, Box::new(error.into())))?,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(FolderError::Read(key_path, error)),
    };
    let pem = read(&certificate)?;
    Issuer::new(title, pem, key).map_err(|error| FolderError::Content(certificate, Box::new(error)))
}

fn crl(path: &Path) -> Result<RevocationList, FolderError> {
    RevocationList::from_pem(read(path)?)
        .map_err(|error| FolderError::Content(path.to_owned(), Box::new(error.into())))
}

fn read(path: &Path) -> Result<String, FolderError> {
    fs::read_to_string(path).map_err(|error| FolderError::Read(path.to_owned(), error))
}
