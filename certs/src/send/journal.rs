//! What of a file was settled already, on disk: sending that was interrupted goes on where it was.
//!
//! The first line holds the idempotency key of the whole, each other line one [`Settled`]. It is synced after each batch.
//! What was sent when the process died is not in it, and is sent again under the same keys. Refused: a file whose
//! settled lines have changed, and two processes at once.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::settled::Settled;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refuses.
    #[error("the journal {}: {source}: name a place that can be written with --state", file.display())]
    Io {
        /// The journal.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process sends this file.
    #[error("{} is in use: this file is being sent by another process", .0.display())]
    InUse(PathBuf),
    /// Not written by `send`.
    #[error("{} is not a journal of send: name another place with --state", .0.display())]
    Foreign(PathBuf),
    /// The journal belongs to another key.
    #[error("{} was begun with the idempotency key {began}: go on without --idempotency-key, or name another --state", file.display())]
    OtherKey {
        /// The journal.
        file: PathBuf,
        /// Its key.
        began: String,
    },
    /// Going on would send twice or leave out.
    #[error("line {line} is not the one that was acknowledged according to {}: the file has changed; put what is new at its end, \
             or into another file", file.display())]
    Changed {
        /// The journal.
        file: PathBuf,
        /// The first changed line.
        line: u64,
    },
}

/// How every journal begins.
const BEGINNING: &[u8] = br#"{"idempotency_key":""#;

#[derive(Serialize, Deserialize)]
struct Head {
    idempotency_key: String,
}

/// A journal, or none.
#[derive(Debug, Default)]
pub struct Journal {
    open: Option<(File, PathBuf)>,
    accepted: HashMap<u64, String>,
}

impl Journal {
    /// Keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Opens a journal, or begins one; answers it with the key to go on with. `key`: what the user wants it to be.
    pub fn open(path: &Path, key: Option<&str>) -> Result<(Self, String), JournalError> {
        let failed = |source| JournalError::Io { file: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let Contents { key: head, accepted, whole } = read(&file, path)?;
        // a line that was being written when the process died is written anew
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole))).map_err(failed)?;
        let began = match (head, key) {
            (Some(began), Some(wanted)) if began != wanted => {
                return Err(JournalError::OtherKey { file: path.to_owned(), began });
            }
            (Some(began), _) => began,
            (None, wanted) => {
                let began = wanted.map_or_else(super::new_key, str::to_owned);
                let head = serde_json::to_string(&Head { idempotency_key: began.clone() });
                let head = head.map_err(|error| failed(error.into()))?;
                writeln!(file, "{head}").and_then(|()| file.sync_all()).map_err(failed)?;
                began
            }
        };
        Ok((Self { open: Some((file, path.to_owned())), accepted }, began))
    }

    /// Whether a line was acknowledged in an earlier run.
    pub(super) fn has(&self, line: u64, digest: &str) -> Result<bool, JournalError> {
        match (self.accepted.get(&line), &self.open) {
            (Some(then), Some((_, file))) if then != digest => {
                Err(JournalError::Changed { file: file.clone(), line })
            }
            (found, _) => Ok(found.is_some()),
        }
    }

    /// Keeps what was settled. Refused ones are written for the reader, and sent again in another run: nothing of them
    /// is stored, and the line may have been corrected.
    pub(super) fn write(&mut self, settled: &[Settled]) -> Result<(), JournalError> {
        let Some((file, path)) = &mut self.open else { return Ok(()) };
        let mut text = Vec::new();
        let written = settled.iter().try_for_each(|one| {
            serde_json::to_writer(&mut text, one)?;
            text.push(b'\n');
            Ok::<_, io::Error>(())
        });
        written
            .and_then(|()| file.write_all(&text))
            .and_then(|()| file.sync_data())
            .map_err(|source| JournalError::Io { file: path.clone(), source })
    }
}

/// What a journal holds.
#[derive(Default)]
struct Contents {
    key: Option<String>,
    /// The digests of acknowledged lines.
    accepted: HashMap<u64, String>,
    /// How many bytes are whole lines.
    whole: u64,
}

fn read(file: &File, path: &Path) -> Result<Contents, JournalError> {
    let mut reader = BufReader::new(file);
    let mut contents = Contents::default();
    let foreign = || JournalError::Foreign(path.to_owned());
    loop {
        let mut line = Vec::new();
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(|source| JournalError::Io { file: path.to_owned(), source })?;
        if !line.ends_with(b"\n") {
            // an empty file, or one whose first line was torn, has nothing in it yet; anything else is not ours
            let begun = &line[..line.len().min(BEGINNING.len())];
            let ours = contents.key.is_some() || BEGINNING.starts_with(begun);
            return if ours { Ok(contents) } else { Err(foreign()) };
        }
        contents.whole += read as u64;
        if contents.key.is_none() {
            let head: Head = serde_json::from_slice(&line).map_err(|_| foreign())?;
            contents.key = Some(head.idempotency_key);
        } else {
            let settled: Settled = serde_json::from_slice(&line).map_err(|_| foreign())?;
            if settled.accepted() {
                contents.accepted.insert(settled.line, settled.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(line: u64, status: u16, digest: &str) -> Settled {
        Settled { digest: digest.to_owned(), ..Settled::refused(line, status, "x", String::new()) }
    }

    #[test]
    fn a_journal_goes_on_with_its_key_and_knows_what_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, key) = Journal::open(&path, None).unwrap();
        journal.write(&[settled(1, 202, "aa"), settled(2, 400, "bb")]).unwrap();
        drop(journal);
        // killed in the middle of a line
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"line\":3,\"sta").unwrap();
        let (mut journal, again) = Journal::open(&path, None).unwrap();
        assert_eq!(key, again);
        assert!(journal.has(1, "aa").unwrap());
        assert!(!journal.has(2, "bb").unwrap(), "refused, so it may be corrected and sent again");
        assert!(!journal.has(3, "cc").unwrap());
        journal.write(&[settled(3, 202, "cc")]).unwrap();
        drop(journal);
        assert!(Journal::open(&path, None).unwrap().0.has(3, "cc").unwrap());
    }

    #[test]
    fn a_file_that_has_changed_before_its_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&folder.path().join("journal"), None).unwrap();
        journal.write(&[settled(1, 202, "aa")]).unwrap();
        drop(journal);
        let (journal, _) = Journal::open(&folder.path().join("journal"), None).unwrap();
        assert!(matches!(journal.has(1, "zz"), Err(JournalError::Changed { line: 1, .. })));
    }

    #[test]
    fn another_process_another_key_and_another_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (held, key) = Journal::open(&path, Some("mine")).unwrap();
        assert_eq!(key, "mine");
        assert!(matches!(Journal::open(&path, None), Err(JournalError::InUse(_))));
        drop(held);
        assert!(matches!(Journal::open(&path, Some("yours")), Err(JournalError::OtherKey { .. })));
        std::fs::write(&path, "my notes\n").unwrap();
        assert!(matches!(Journal::open(&path, None), Err(JournalError::Foreign(_))));
        std::fs::write(&path, "my notes").unwrap();
        assert!(matches!(Journal::open(&path, None), Err(JournalError::Foreign(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes", "and left alone");
    }
}
