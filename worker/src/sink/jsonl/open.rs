//! Opening the file at start: in, a path; out, a file of whole lines that are all on disk, locked for this
//! process, and its latest message ids. Refused: a file that another worker holds, and one that is not ours.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use tracing::{info, warn};

use super::{recent::RecentIds, scan};
use crate::sink::{SinkError, line};

/// What each line of ours begins with.
const BEGINNING: &[u8] = b"{\"job_id\":";

/// Opens or makes the file, and takes it for this process alone.
pub(super) fn open(path: &Path) -> Result<File, SinkError> {
    let fault = |doing| move |source| SinkError::Io { path: path.to_owned(), doing, source };
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    let (file, made) = match options.clone().create_new(true).open(path) {
        Ok(file) => (file, true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            (options.open(path).map_err(fault("open"))?, false)
        }
        Err(error) => return Err(fault("create")(error)),
    };
    if !file.metadata().map_err(fault("examine"))?.is_file() {
        return Err(SinkError::NotAFile { path: path.to_owned() });
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(SinkError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(fault("lock")(error)),
    }
    if made {
        // The name of a new file is in its directory, and only an fsync of that makes it last.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|dir| dir.sync_all())
            .map_err(fault("create"))?;
    }
    Ok(file)
}

/// Cuts a torn last line off, and makes what stays durable; returns the file's length.
pub(super) fn repair(file: &File, path: &Path) -> Result<u64, SinkError> {
    let fault = |doing| move |source| SinkError::Io { path: path.to_owned(), doing, source };
    let length = file.metadata().map_err(fault("examine"))?.len();
    let whole =
        scan::newline_before(file, length, 1).map_err(fault("read"))?.map_or(0, |newline| newline + 1);
    if whole < length {
        if !is_torn_line(file, whole, length).map_err(fault("read"))? {
            return Err(SinkError::NotOurs { path: path.to_owned(), offset: whole });
        }
        file.set_len(whole).map_err(fault("repair"))?;
        warn!(path = %path.display(), bytes = length - whole, "cut off a torn last line; its message will come again");
    }
    // A worker that was killed between its write and its fsync left lines that are in the file but not on
    // disk. Their messages will come again and be taken as written, so they must be.
    file.sync_all().map_err(fault("sync"))?;
    Ok(whole)
}

/// Whether the rest of the file can be the beginning of a line of ours, or the zeros that a power loss leaves
/// in its place. Anything else is somebody else's file, which must not lose a byte to a mistyped path.
fn is_torn_line(file: &File, start: u64, end: u64) -> io::Result<bool> {
    let Ok(length) = usize::try_from(end - start) else { return Ok(false) };
    if length > line::MAX_LINE {
        return Ok(false);
    }
    let mut rest = vec![0; length];
    file.read_exact_at(&mut rest, start)?;
    let compared = length.min(BEGINNING.len());
    Ok(rest[..compared] == BEGINNING[..compared] || rest.iter().all(|&byte| byte == 0))
}

/// Reads the ids of the last lines.
pub(super) fn load(file: &File, path: &Path, length: u64, capacity: usize) -> Result<RecentIds, SinkError> {
    let fault = |source| SinkError::Io { path: path.to_owned(), doing: "read", source };
    let start = scan::newline_before(file, length, capacity.saturating_add(1)).map_err(fault)?;
    let mut recent = RecentIds::new(capacity);
    let (mut lines, mut foreign) = (0_u64, 0_u64);
    scan::lines_between(file, start.map_or(0, |newline| newline + 1), length, |offset, text| {
        let id = line::message_id(text);
        lines += 1;
        foreign += u64::from(id.is_none());
        recent.push(offset, id);
    })
    .map_err(fault)?;
    info!(path = %path.display(), bytes = length, lines_read = lines, foreign, "opened the output file");
    Ok(recent)
}
