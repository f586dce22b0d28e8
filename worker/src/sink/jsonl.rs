//! The file of JSON lines: in, a batch of jobs; out, one line for each message that has none yet, in one write
//! and one fsync. A write that fails leaves no trace. Refused: sharing the file with another worker.

mod scan;
mod recent;
mod open;
mod file;

use std::collections::HashMap;

use shared::wire::lease::LeasedJob;
use tracing::warn;

use self::file::OpenFile;
use super::{JsonlOptions, Outcome, Sink, SinkError, line};

/// The file, open or to be opened again.
#[derive(Debug)]
pub(super) struct JsonlFile {
    options: JsonlOptions,
    open: Option<OpenFile>,
    /// How many bytes the latest failed write had.
    refused: usize,
}

impl JsonlFile {
    /// Opens, locks and repairs the file, and reads the latest message ids.
    pub(super) fn open(options: JsonlOptions) -> Result<Self, SinkError> {
        let open = Some(OpenFile::open(&options)?);
        Ok(Self { options, open, refused: 0 })
    }

    /// The file as the last batch left it; opened afresh when somebody moved, deleted or changed it, as
    /// rotating logs does. Appending to a file that no longer has its name would lose messages.
    fn current(&mut self) -> Result<&mut OpenFile, SinkError> {
        let path = &self.options.output;
        if let Some(open) = &mut self.open {
            open.cut_off_torn_write().map_err(|source| SinkError::Io {
                path: path.clone(),
                doing: "repair",
                source,
            })?;
            if !open.is_unchanged_at(path) {
                warn!(path = %path.display(), "somebody moved or changed the output file; opening it again");
                self.open = None;
            }
        }
        match &mut self.open {
            Some(open) => Ok(open),
            none => Ok(none.insert(OpenFile::open(&self.options)?)),
        }
    }
}

impl Sink for JsonlFile {
    /// Appends a line for every message that has none, and waits for the disk. On an error nothing was added.
    fn deliver(&mut self, jobs: &[LeasedJob]) -> Result<Vec<Outcome>, SinkError> {
        let path = self.options.output.clone();
        let fault = |doing| move |source| SinkError::Io { path: path.clone(), doing, source };
        let open = self.current()?;
        let repeats = open.repeats(jobs).map_err(fault.clone()("search"))?;

        let mut buffer = Vec::new();
        let mut lines = Vec::new();
        let mut in_batch: HashMap<u128, Outcome> = HashMap::new();
        let outcomes = jobs.iter().map(|job| {
            let id = job.message_id.as_u128();
            if repeats.contains(&id) {
                return Outcome::AlreadyThere;
            }
            if let Some(twin) = in_batch.get(&id) {
                return if *twin == Outcome::Written { Outcome::AlreadyThere } else { twin.clone() };
            }
            let offset = open.length() + buffer.len() as u64;
            let outcome = match line::write(&mut buffer, job) {
                Ok(()) => {
                    lines.push((offset, id));
                    Outcome::Written
                }
                Err(error) => Outcome::Failed(error),
            };
            in_batch.insert(id, outcome.clone());
            outcome
        });
        let outcomes = outcomes.collect();

        if !buffer.is_empty()
            && let Err(error) = open.write(&buffer)
        {
            self.refused = buffer.len();
            return Err(fault("write to")(error));
        }
        for (offset, id) in lines {
            open.remember(offset, id);
        }
        Ok(outcomes)
    }

    /// Writes as much as was refused before, and takes it back: whether the disk has room again, found out
    /// without risking a job. Zeros, for at a crash meanwhile the next start takes them for a torn line.
    fn rehearse(&mut self) -> Result<(), SinkError> {
        let zeros = vec![0; self.refused.clamp(1, line::MAX_LINE / 2)];
        let path = self.options.output.clone();
        let fault = |source| SinkError::Io { path, doing: "write to", source };
        self.current()?.rehearse(&zeros).map_err(fault)
    }
}
