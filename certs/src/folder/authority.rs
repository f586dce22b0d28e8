//! The CA itself on disk: settings, keys, certificates and revocation lists.

use std::{fs, io, path::Path};

use serde::Deserialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{FolderError, STAMP, Writing, list, read, stem};
use crate::{
    Authority, Ca, Issuer, PrivateKey, RevocationList, TrustDomain,
    files::{Readers, create_folder, staging_folder, sync_folder_of, write_new},
};

/// What `ca.toml` holds. Written last by `init-ca`: where it lies, the CA is complete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    trust_domain: TrustDomain,
}

pub(super) const SETTINGS: &str = "ca.toml";

/// Every file of the CA, in the order of writing. The root's key first: of two `init-ca` at once, one fails there.
/// The settings last: they say that all is there.
const FILES: [&str; 10] = [
    "ca.key",
    "clients-ca.key",
    "services-ca.key",
    "ca.crt",
    "clients-ca.crt",
    "services-ca.crt",
    "crl/root.pem",
    "crl/revoked.pem",
    "crl/services.pem",
    SETTINGS,
];

impl Authority {
    /// Refuses a folder in which a CA lies already, whole or in part.
    pub fn vacant(dir: &Path) -> Result<(), FolderError> {
        if dir.join(SETTINGS).exists() {
            return Err(FolderError::AuthorityExists(dir.to_owned()));
        }
        let in_the_way = FILES.into_iter().map(|name| dir.join(name)).find(|path| path.exists());
        in_the_way.map_or(Ok(()), |path| Err(FolderError::InTheWay(path)))
    }

    /// Writes a new CA into `dir`, which is made if need be. On failure what was written is removed again.
    pub fn save(&self, dir: &Path) -> Result<(), FolderError> {
        Self::vacant(dir)?;
        let _alone = Writing::claim(dir)?;
        self.write(dir)
    }

    /// Writes a new CA in the place of the one in `dir`, which is moved aside whole; answers where to. A crash in
    /// between leaves nothing in `dir`, and both beside it whole.
    pub fn replace(&self, dir: &Path) -> Result<std::path::PathBuf, FolderError> {
        let _alone = Writing::begin(dir)?;
        let failed = |error| FolderError::Write(dir.to_owned(), error);
        let dir = fs::canonicalize(dir).map_err(failed)?;
        let parent = dir.parent().unwrap_or(&dir);
        let staged = staging_folder(parent).map_err(failed)?;
        self.write(staged.path())?;
        let stamp = OffsetDateTime::now_utc().format(STAMP).unwrap_or_default();
        let mut aside = dir.clone().into_os_string();
        aside.push(format!(".{stamp}"));
        fs::rename(&dir, &aside).map_err(failed)?;
        fs::rename(staged.path(), &dir).map_err(failed)?;
        let _ = staged.keep();
        sync_folder_of(&dir).map_err(failed)?;
        Ok(aside.into())
    }

    fn write(&self, dir: &Path) -> Result<(), FolderError> {
        let files = self.files();
        for folder in ["", "crl", "issued", "clients", "services"].map(|name| dir.join(name)) {
            create_folder(&folder).map_err(|error| FolderError::Write(folder, error))?;
        }
        for (written, (name, contents)) in files.iter().enumerate() {
            let path = dir.join(name);
            let key = path.extension().is_some_and(|extension| extension == "key");
            let readers = if key { Readers::Owner } else { Readers::Everybody };
            if let Err(error) = write_new(&path, contents.as_bytes(), readers) {
                for (name, _) in &files[..written] {
                    let _ = fs::remove_file(dir.join(name));
                }
                return Err(FolderError::Write(path, error));
            }
        }
        Ok(())
    }

    /// What goes into each of [`FILES`]; nothing for a key that is not here.
    fn files(&self) -> Vec<(&'static str, Zeroizing<String>)> {
        let [root_crl, clients_crl, services_crl] = self.crls().map(|list| Some(list.pem().to_owned()));
        let [root_key, clients_key, services_key] =
            Ca::ALL.map(|ca| self.issuer(ca).key().map(|key| key.pem().to_owned()));
        let [root, clients, services] = Ca::ALL.map(|ca| Some(self.issuer(ca).certificate_pem().to_owned()));
        // the trust domain consists of characters that need no escape
        let settings =
            format!("# written by portcullis-certs init-ca\ntrust_domain = \"{}\"\n", self.trust_domain());
        let contents = [
            root_key,
            clients_key,
            services_key,
            root,
            clients,
            services,
            root_crl,
            clients_crl,
            services_crl,
            Some(settings),
        ];
        let files = FILES.into_iter().zip(contents);
        files.filter_map(|(name, contents)| Some((name, Zeroizing::new(contents?)))).collect()
    }

    /// Reads a CA back. Only the certificates and lists must be there: a key that was taken away, or is under a
    /// passphrase, is missed when something is to be signed with it.
    pub fn load(dir: &Path) -> Result<Self, FolderError> {
        let path = dir.join(SETTINGS);
        if !path.exists() {
            return Err(FolderError::NoAuthority(dir.to_owned()));
        }
        let settings: Settings =
            toml::from_str(&read(&path)?).map_err(|error| FolderError::Settings(path, Box::new(error)))?;
        let issuers = [issuer(dir, Ca::Root)?, issuer(dir, Ca::Clients)?, issuer(dir, Ca::Services)?];
        let crls = [crl(dir, Ca::Root)?, crl(dir, Ca::Clients)?, crl(dir, Ca::Services)?];
        Ok(Self::from_parts(settings.trust_domain, issuers, crls))
    }
}

fn issuer(dir: &Path, ca: Ca) -> Result<Issuer, FolderError> {
    let certificate = dir.join(format!("{}.crt", stem(ca)));
    let key_path = dir.join(format!("{}.key", stem(ca)));
    let key = match fs::read_to_string(&key_path) {
        Ok(pem) => Some(PrivateKey::from_pem(pem)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(FolderError::Read(key_path, error)),
    };
    let pem = read(&certificate)?;
    Issuer::new(ca.title(), pem, key).map_err(|error| FolderError::Content(certificate, Box::new(error)))
}

fn crl(dir: &Path, ca: Ca) -> Result<RevocationList, FolderError> {
    let path = dir.join(list(ca));
    RevocationList::from_pem(read(&path)?).map_err(|error| FolderError::Content(path, Box::new(error.into())))
}
