//! Writing files so that a crash leaves the old state or the new one, and nobody else reads a key.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    path::Path,
};

use tempfile::{Builder, NamedTempFile};

/// How the names of files and folders begin that are not in their place yet.
pub(crate) const UNFINISHED: [&str; 2] = [".new-", ".issue-"];

/// Who may read a file. It is created so, never widened or narrowed afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// 0600: private keys.
    Owner,
    /// 0644: certificates, revocation lists and what else holds no secret.
    Everybody,
}

/// Writes a new file: a temporary one beside it, synced, then linked under its name. Refuses an existing name,
/// also one that appears at the same moment.
pub(crate) fn write_new(path: &Path, contents: &[u8], readers: Readers) -> io::Result<()> {
    let file = write_beside(path, contents, readers)?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(folder_of(path))
}

/// Puts other contents in the place of a file, in one step: whoever reads it gets the old ones or the new.
pub(crate) fn replace(path: &Path, contents: &[u8], readers: Readers) -> io::Result<()> {
    let file = write_beside(path, contents, readers)?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder_of(path))
}

fn write_beside(path: &Path, contents: &[u8], readers: Readers) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED[0]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if readers == Readers::Owner { 0o600 } else { 0o644 };
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = builder.tempfile_in(folder_of(path))?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Creates a folder, and those above it, that only its owner may enter; one that exists is left as it is.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// A temporary folder inside `parent` that only its owner may enter; it goes when it is dropped.
pub(crate) fn staging_folder(parent: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED[1]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder.tempdir_in(parent)
}

/// Moves a staged folder to its place, in one step. Refuses a place that is taken.
pub(crate) fn publish_folder(staged: tempfile::TempDir, place: &Path) -> io::Result<()> {
    // POSIX: a directory replaces at most an empty one. Elsewhere it replaces none.
    fs::rename(staged.path(), place)?;
    let _ = staged.keep();
    sync_folder_of(place)
}

/// Makes a name durable after it was changed.
pub(crate) fn sync_folder_of(place: &Path) -> io::Result<()> {
    sync_folder(folder_of(place))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in a folder durable. Windows does that itself and cannot open a folder like a file.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
