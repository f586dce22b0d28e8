//! The open file: in, whole lines, written and on disk or not there at all; out, which messages it has.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use shared::wire::lease::LeasedJob;
use tracing::warn;

use super::{open, recent::RecentIds, scan};
use crate::sink::{JsonlOptions, SinkError, line};

/// An open and locked file of whole lines.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    /// Its length after the last batch that succeeded: all before it is whole lines, on disk.
    length: u64,
    /// Set while a write is under way, and kept when it failed: what follows `length` is to be cut off.
    torn: bool,
    recent: RecentIds,
}

impl OpenFile {
    /// Opens, locks and repairs the file, and reads its latest message ids.
    pub(super) fn open(options: &JsonlOptions) -> Result<Self, SinkError> {
        let path = &options.output;
        let file = open::open(path)?;
        let length = open::repair(&file, path)?;
        let recent = open::load(&file, path, length, options.recent_ids)?;
        Ok(Self { file, length, torn: false, recent })
    }

    /// Where the next line will begin.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the name still leads to this file, and nobody but us wrote to it.
    pub(super) fn is_unchanged_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(ours), Ok(named)) => {
                (ours.dev(), ours.ino(), ours.len()) == (named.dev(), named.ino(), self.length)
            }
            _ => false,
        }
    }

    /// The message ids of the batch that the file has a line for.
    ///
    /// What is not in the window may be in the part of the file before it, which is read through once for the
    /// whole batch: exact, in constant memory. A first attempt needs no search: it is the first lease that
    /// anybody got of this job, so nobody can have written its line before.
    pub(super) fn repeats(&self, jobs: &[LeasedJob]) -> io::Result<HashSet<u128>> {
        let (mut found, mut sought) = (HashSet::new(), HashSet::new());
        for job in jobs {
            let id = job.message_id.as_u128();
            if self.recent.contains(id) {
                found.insert(id);
            } else if job.attempt > 1 {
                sought.insert(id);
            }
        }
        let older = self.recent.begins_at();
        if !sought.is_empty() && older > 0 {
            scan::lines_between(&self.file, 0, older, |_, text| {
                found.extend(line::message_id(text).filter(|id| sought.contains(id)));
            })?;
        }
        Ok(found)
    }

    /// Puts a line that was written into the window.
    pub(super) fn remember(&mut self, offset: u64, id: u128) {
        self.recent.push(offset, Some(id));
    }

    /// Writes whole lines and waits for the disk; on an error nothing was added.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.torn = true;
        // If the fsync fails, the kernel may have dropped the pages: the lines are cut off and written anew.
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data()).and_then(|()| {
            // Deleted since it was opened: what was just written goes when we close it.
            if self.file.metadata()?.nlink() == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
        });
        match written {
            Ok(()) => {
                self.length += lines.len() as u64;
                self.torn = false;
                Ok(())
            }
            Err(error) => {
                if let Err(worse) = self.cut_off_torn_write() {
                    warn!(error = %worse, "a failed write could not be taken back yet; trying again before the next");
                }
                Err(error)
            }
        }
    }

    /// Writes and takes back at once.
    pub(super) fn rehearse(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.torn = true;
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        written.and(self.cut_off_torn_write())
    }

    /// Takes a failed write back, so that nothing is ever written behind half a line.
    pub(super) fn cut_off_torn_write(&mut self) -> io::Result<()> {
        if self.torn {
            // Shorter: somebody emptied it meanwhile, and there is nothing left to take back.
            if self.file.metadata()?.len() > self.length {
                self.file.set_len(self.length)?;
            }
            self.torn = false;
        }
        Ok(())
    }
}
