//! Standard output: in, a batch of jobs; out, one line of JSON for each, written and flushed. What happens to a
//! line then is the reader's business. A reader that went away is trouble: nothing is acknowledged that was not
//! written, and nothing more is leased.
//!
//! Nothing can be looked up in what was written, so a message that comes again is written again: `attempt` on its
//! line is more than 1.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
};

use shared::wire::lease::LeasedJob;

use super::{Outcome, Sink, SinkError, line};

/// An output that cannot be read back or cut off.
#[derive(Debug)]
pub struct StandardOutput {
    /// Not `io::stdout`, whose buffer keeps what could not be written and writes it later.
    file: File,
    /// The latest write failed, perhaps in the middle of a line.
    torn: bool,
}

impl StandardOutput {
    /// This process's own.
    pub fn open() -> Result<Self, SinkError> {
        Ok(Self::over(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    /// Any other output, such as a pipe.
    #[must_use]
    pub fn over(file: File) -> Self {
        Self { file, torn: false }
    }
}

impl Sink for StandardOutput {
    fn deliver(&mut self, jobs: &[LeasedJob]) -> Result<Vec<Outcome>, SinkError> {
        let mut buffer = Vec::new();
        let written = jobs.iter().map(|job| match line::write(&mut buffer, job) {
            Ok(()) => Outcome::Written,
            Err(error) => Outcome::Failed(error),
        });
        let outcomes = written.collect();
        // If this fails halfway, the reader may have some of these lines and will get them again.
        self.write(&buffer)?;
        Ok(outcomes)
    }

    /// Writes the end of the torn line: nothing else can be taken back.
    fn rehearse(&mut self) -> Result<(), SinkError> {
        Ok(self.write(b"")?)
    }
}

impl StandardOutput {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            // An empty line if it was torn exactly between two.
            self.file.write_all(b"\n")?;
        }
        self.torn = true;
        self.file.write_all(lines)?;
        self.file.flush()?;
        self.torn = false;
        Ok(())
    }
}
