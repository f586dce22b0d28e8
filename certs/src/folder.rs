//! The PKI on disk: the one place that knows which file lies where.
//!
//! `ca.toml` (settings), `ca.{crt,key}` (root), `clients-ca.*`, `services-ca.*`,
//! `crl/{root,revoked,services}.pem`, `crl/revocation_log.txt`, `issued/SERIAL.crt` (every certificate that was ever
//! signed: the index), `clients/NAME/` and `services/ROLE/NAME/` with `NAME.crt` (leaf and issuing CA), `NAME.key`,
//! `ca.crt` (the root), `fingerprint.txt` and, for clients, `NAME.p12` and `README.txt`. Refused: to overwrite
//! anything, and two writers at once ([`Writing`]).
//!
//! Every file is written beside its place, synced and moved there, and so is every holder's folder: whatever
//! interrupts this, each is as it was or as it will be.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Ca, IssueError};

mod authority;
mod holder;
mod index;
mod lists;
mod writing;

pub use holder::{Staged, folder_of, vacant};
pub(crate) use index::serial;
pub use index::{Index, Known};
pub(crate) use lists::log;
pub use lists::{LogEntry, Refreshed};
pub use writing::Writing;

/// Beside the CA's folder, an old one that was replaced: `pki.20261121T090000Z`.
pub(crate) const STAMP: &[time::format_description::BorrowedFormatItem<'_>] =
    time::macros::format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:6]Z");

/// Why the folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No CA was made here.
    #[error("{} holds no certificate authority: run portcullis-certs init-ca first, or name its folder with --dir", .0.display())]
    NoAuthority(PathBuf),
    /// A new CA would invalidate every certificate of the old one.
    #[error("{} holds a certificate authority already, and a new one would invalidate every certificate it has issued: \
             choose another --dir, or use --force if that is what you want", .0.display())]
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
    /// Somebody else is writing.
    #[error("another portcullis-certs has been at work in {} for {} s: wait for it, or stop it", .0.display(), .1.as_secs())]
    Busy(PathBuf, Duration),
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

/// Where the certificate, the key (without its ending) and the list of a CA are.
const fn stem(ca: Ca) -> &'static str {
    match ca {
        Ca::Root => "ca",
        Ca::Clients => "clients-ca",
        Ca::Services => "services-ca",
    }
}

const fn list(ca: Ca) -> &'static str {
    match ca {
        Ca::Root => "crl/root.pem",
        Ca::Clients => "crl/revoked.pem",
        Ca::Services => "crl/services.pem",
    }
}

fn read(path: &Path) -> Result<String, FolderError> {
    fs::read_to_string(path).map_err(|error| FolderError::Read(path.to_owned(), error))
}

/// What a folder holds, without what is being written; nothing if it does not exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |error| FolderError::Read(folder.to_owned(), error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(failed)?;
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    paths.retain(|path| !hidden(path));
    paths.sort();
    Ok(paths)
}
