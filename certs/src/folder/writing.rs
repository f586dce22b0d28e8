//! The right to change a PKI's folder: one process at a time.
//!
//! The lock is on the file `.lock`, held by the open file, so that it ends with its process however that ends. Whoever
//! gets it removes what an interrupted writer left unfinished: that may hold a key.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{FolderError, authority::SETTINGS, entries};
use crate::files::{UNFINISHED, create_folder};

const LOCK: &str = ".lock";
/// How long to wait for another writer, who may be waiting for a database.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Held by whoever changes the folder.
#[derive(Debug)]
pub struct Writing {
    dir: PathBuf,
    _locked: File,
}

impl Writing {
    /// Waits for the right to change the CA in `dir`. Read the CA afterwards, not before.
    pub fn begin(dir: &Path) -> Result<Self, FolderError> {
        if !dir.join(SETTINGS).exists() {
            return Err(FolderError::NoAuthority(dir.to_owned()));
        }
        Self::claim(dir)
    }

    /// As [`Writing::begin`], where no CA may be yet.
    pub(super) fn claim(dir: &Path) -> Result<Self, FolderError> {
        create_folder(dir).map_err(|error| FolderError::Write(dir.to_owned(), error))?;
        let path = dir.join(LOCK);
        let failed = |error| FolderError::Write(path.clone(), error);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => thread::sleep(LOOK_AGAIN),
                Err(TryLockError::WouldBlock) => return Err(FolderError::Busy(dir.to_owned(), PATIENCE)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        let writing = Self { dir: dir.to_owned(), _locked: file };
        writing.sweep()?;
        Ok(writing)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn sweep(&self) -> Result<(), FolderError> {
        let mut places = ["", "crl", "issued", "clients"].map(|name| self.dir.join(name)).to_vec();
        places.extend(entries(&self.dir.join("services"))?);
        for place in places {
            let Ok(found) = fs::read_dir(&place) else { continue };
            for path in found.flatten().map(|entry| entry.path()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if UNFINISHED.iter().any(|prefix| name.starts_with(prefix)) {
                    let removed =
                        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    removed.map_err(|error| FolderError::Write(path, error))?;
                }
            }
        }
        Ok(())
    }
}
