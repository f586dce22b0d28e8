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
use time::OffsetDateTime;

use super::{FolderError, STAMP, Writing, index::record, read};
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
pub struct Staged<'a> {
    folder: TempDir,
    place: PathBuf,
    leaf: &'a Leaf,
    writing: &'a Writing,
}

impl Staged<'_> {
    /// Adds a file to the folder; one with a secret in it is for its owner only.
    pub fn add(&self, name: &str, contents: &[u8], secret: bool) -> Result<(), FolderError> {
        let path = self.folder.path().join(name);
        let readers = if secret { Readers::Owner } else { Readers::Everybody };
        write_new(&path, contents, readers).map_err(|error| FolderError::Write(path, error))
    }

    /// Puts the certificate into the index, moves what lies in its place to `backup/`, and the folder to its place.
    /// Answers both. A crash in between leaves the name vacant and both folders whole.
    pub fn replace(self) -> Result<(PathBuf, PathBuf), FolderError> {
        let dir = self.writing.dir();
        let name = self.place.strip_prefix(dir).unwrap_or(&self.place).to_owned();
        let backup = dir.join("backup").join(name);
        create_folder(&backup).map_err(|error| FolderError::Write(backup.clone(), error))?;
        let now = OffsetDateTime::now_utc();
        let backup = backup.join(now.format(STAMP).unwrap_or_else(|_| now.unix_timestamp().to_string()));
        let recorded = record(dir, self.leaf)?;
        if let Err(error) = fs::rename(&self.place, &backup) {
            let _ = fs::remove_file(recorded);
            return Err(FolderError::Write(backup, error));
        }
        let place = self.into_place()?;
        Ok((place, backup))
    }

    /// Puts the certificate into the index and the folder to its place, which it answers. Refuses a name that was
    /// taken in the meantime.
    pub fn publish(self) -> Result<PathBuf, FolderError> {
        let recorded = record(self.writing.dir(), self.leaf)?;
        let published = self.into_place();
        if published.is_err() {
            // nobody ever got it
            let _ = fs::remove_file(recorded);
        }
        published
    }

    fn into_place(self) -> Result<PathBuf, FolderError> {
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
        self.stage(&Writing::begin(dir)?)?.publish()
    }

    /// Writes the folder beside its place. Refuses a name that is taken.
    pub fn stage<'a>(&'a self, writing: &'a Writing) -> Result<Staged<'a>, FolderError> {
        vacant(writing.dir(), &self.holder)?;
        self.stage_renewal(writing)
    }

    /// Writes the folder beside its place, which may be taken: see [`Staged::replace`].
    pub fn stage_renewal<'a>(&'a self, writing: &'a Writing) -> Result<Staged<'a>, FolderError> {
        let name = self.name().as_str();
        let place = folder_of(writing.dir(), &self.holder);
        let parent = place.parent().unwrap_or(writing.dir());
        create_folder(parent).map_err(|error| FolderError::Write(parent.to_owned(), error))?;
        let folder = staging_folder(parent).map_err(|error| FolderError::Write(parent.to_owned(), error))?;
        let staged = Staged { folder, place, leaf: &self.leaf, writing };
        if self.key().is_here() {
            staged.add(&format!("{name}.key"), self.key().pem().as_bytes(), true)?;
        }
        staged.add(&format!("{name}.crt"), self.certificate_pem().as_bytes(), false)?;
        staged.add("ca.crt", self.root_pem.as_bytes(), false)?;
        staged.add("fingerprint.txt", format!("{}\n", self.fingerprint_line()).as_bytes(), false)?;
        Ok(staged)
    }

    /// Reads back what was issued to `holder`; `None` if nothing was.
    pub fn load(dir: &Path, holder: &Workload) -> Result<Option<Self>, FolderError> {
        let folder = folder_of(dir, holder);
        if !folder.exists() {
            return Ok(None);
        }
        let (Workload::Client(name) | Workload::Service(_, name)) = holder;
        let certificate = folder.join(format!("{name}.crt"));
        let key_path = folder.join(format!("{name}.key"));
        let key =
            if key_path.exists() { PrivateKey::from_pem(read(&key_path)?) } else { PrivateKey::elsewhere() };
        let leaf = Leaf::from_pem(read(&certificate)?, key)
            .map_err(|error| FolderError::Content(certificate, Box::new(error)))?;
        let domain = match holder {
            Workload::Client(_) => leaf.unit(),
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
