//! The folder of one holder: `clients/NAME` or `services/ROLE/NAME`.
//!
//! It is staged beside its place and moved there in one step, so that the database can be asked in between and
//! no half-written folder is ever seen.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use shared::identity::Workload;
use tempfile::TempDir;
use time::{OffsetDateTime, macros::format_description};
use x509_parser::prelude::{FromDer, X509Name};

use super::{FolderError, read};
use crate::{
    Issued, Leaf, PrivateKey,
    files::{Readers, create_folder, publish_folder, staging_folder, write_new},
};

/// Where the files of `holder` lie in the PKI at `dir`.
#[must_use]
pub fn folder_of(dir: &Path, holder: &Workload) -> PathBuf {
    match holder {
        Workload::Client(name) => dir.join("clients").join(name.as_str()),
        Workload::Service(role, name) => dir.join("services").join(role.as_str()).join(name.as_str()),
    }
}

/// A written folder that is not in its place yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Staged {
    folder: TempDir,
    place: PathBuf,
}

impl Staged {
    /// Moves what lies in its place to `backup/`, and the folder to its place. Answers both. A crash in between
    /// leaves the name vacant and both folders whole.
    pub fn replace(self, dir: &Path) -> Result<(PathBuf, PathBuf), FolderError> {
        let name = self.place.strip_prefix(dir).unwrap_or(&self.place).to_owned();
        let backup = dir.join("backup").join(name);
        create_folder(&backup).map_err(|error| FolderError::Write(backup.clone(), error))?;
        let now = OffsetDateTime::now_utc();
        let format = format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:6]Z");
        let backup = backup.join(now.format(format).unwrap_or_else(|_| now.unix_timestamp().to_string()));
        fs::rename(&self.place, &backup).map_err(|error| FolderError::Write(backup.clone(), error))?;
        let place = self.publish()?;
        Ok((place, backup))
    }

    /// Moves the folder to its place, which it answers. Refuses a name that was taken in the meantime.
    pub fn publish(self) -> Result<PathBuf, FolderError> {
        match publish_folder(self.folder, &self.place) {
            Ok(()) => Ok(self.place),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Err(FolderError::NameTaken(self.place))
            }
            Err(error) => Err(FolderError::Write(self.place, error)),
        }
    }
}

impl Issued {
    /// Writes the folder and puts it in its place, which it answers.
    pub fn save(&self, dir: &Path) -> Result<PathBuf, FolderError> {
        self.stage(dir)?.publish()
    }

    /// Writes the folder beside its place. Refuses a name that is taken.
    pub fn stage(&self, dir: &Path) -> Result<Staged, FolderError> {
        vacant(dir, &self.holder)?;
        self.stage_renewal(dir)
    }

    /// Writes the folder beside its place, which may be taken: see [`Staged::replace`].
    pub fn stage_renewal(&self, dir: &Path) -> Result<Staged, FolderError> {
        let name = self.name().as_str();
        let place = folder_of(dir, &self.holder);
        let parent = place.parent().unwrap_or(dir);
        create_folder(parent).map_err(|error| FolderError::Write(parent.to_owned(), error))?;
        let folder = staging_folder(parent).map_err(|error| FolderError::Write(parent.to_owned(), error))?;
        for (file, contents, readers) in [
            (format!("{name}.key"), self.key().pem(), Readers::Owner),
            (format!("{name}.crt"), self.certificate_pem(), Readers::Everybody),
            ("ca.crt".to_owned(), &self.root_pem, Readers::Everybody),
            ("fingerprint.txt".to_owned(), &format!("{}\n", self.fingerprint_line()), Readers::Everybody),
        ] {
            let path = folder.path().join(file);
            write_new(&path, contents.as_bytes(), readers)
                .map_err(|error| FolderError::Write(path, error))?;
        }
        Ok(Staged { folder, place })
    }

    /// Reads back what was issued to `holder`; `None` if nothing was.
    pub fn load(dir: &Path, holder: &Workload) -> Result<Option<Self>, FolderError> {
        let folder = folder_of(dir, holder);
        if !folder.exists() {
            return Ok(None);
        }
        let (Workload::Client(name) | Workload::Service(_, name)) = holder;
        let certificate = folder.join(format!("{name}.crt"));
        let key = PrivateKey::from_pem(read(&folder.join(format!("{name}.key")))?);
        let leaf = Leaf::from_pem(read(&certificate)?, key)
            .map_err(|error| FolderError::Content(certificate, Box::new(error)))?;
        let domain = match holder {
            Workload::Client(_) => unit(&leaf),
            Workload::Service(..) => None,
        };
        Ok(Some(Self { holder: holder.clone(), domain, leaf, root_pem: read(&folder.join("ca.crt"))? }))
    }
}

/// Refuses a holder whose folder is taken, or cannot be: to be asked before a certificate is made.
pub fn vacant(dir: &Path, holder: &Workload) -> Result<(), FolderError> {
    let (Workload::Client(name) | Workload::Service(_, name)) = holder;
    if name.as_str().eq_ignore_ascii_case("ca") {
        return Err(FolderError::ReservedName(name.to_string()));
    }
    let place = folder_of(dir, holder);
    if place.exists() { Err(FolderError::NameTaken(place)) } else { Ok(()) }
}

/// OU of the subject: a client's domain.
fn unit(leaf: &Leaf) -> Option<String> {
    let (_, subject) = X509Name::from_der(&leaf.facts().subject).ok()?;
    let unit = subject.iter_organizational_unit().next()?;
    unit.as_str().ok().map(str::to_owned)
}
