//! Where leased jobs are delivered to: in, a batch of jobs; out, what became of each.
//!
//! A [`Sink`] is one kind of place, and may block. [`SharedSink`] is the worker's hold on it: one batch at a
//! time, on a thread that may block, and whether it is in trouble.

mod line;
mod jsonl;
mod stdout;
mod turn;
mod error;

use std::{fmt, path::PathBuf};

use shared::wire::lease::LeasedJob;

pub use self::{
    error::SinkError,
    stdout::StandardOutput,
    turn::{SharedSink, Turn},
};

/// A place that messages are delivered to. Its methods block until the delivery is as safe as it gets there.
pub trait Sink: fmt::Debug + Send + 'static {
    /// Delivers a batch, and answers for every job, in order. On an error none of them counts as delivered.
    fn deliver(&mut self, jobs: &[LeasedJob]) -> Result<Vec<Outcome>, SinkError>;

    /// Finds out, without risking a job, whether what failed last works again.
    fn rehearse(&mut self) -> Result<(), SinkError>;
}

/// What became of one job in the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its line is there.
    Written,
    /// A line with its message id was there already; nothing was added.
    AlreadyThere,
    /// It is not there; the text says why.
    Failed(String),
}

/// Which sink, and what it needs.
#[derive(Debug, Clone)]
pub enum SinkOptions {
    /// A file of JSON lines.
    Jsonl(JsonlOptions),
    /// JSON lines on this process's standard output.
    Stdout,
}

/// Where to write, and how much to remember.
#[derive(Debug, Clone)]
pub struct JsonlOptions {
    /// The file that lines are appended to; made with mode 0600 when it is missing.
    pub output: PathBuf,
    /// How many of the latest message ids are kept in memory, to recognise repeats without reading the file.
    pub recent_ids: usize,
}

impl SinkOptions {
    fn open(self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(match self {
            Self::Jsonl(options) => Box::new(jsonl::JsonlFile::open(options)?),
            Self::Stdout => Box::new(StandardOutput::open()?),
        })
    }
}

impl fmt::Display for SinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jsonl(options) => options.output.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}
