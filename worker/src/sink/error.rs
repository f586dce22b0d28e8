//! Why a sink cannot be used, or could not take a batch.

use std::{io, path::PathBuf};

/// Why a sink cannot be used, or could not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// An operating system error.
    #[error("cannot {doing} the output file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// Another process holds its lock.
    #[error(
        "the output file {} is in use by another worker; give each worker a [sink] output of its own",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A directory, a pipe or a device, which cannot be repaired or searched.
    #[error("the output {} is not a regular file; name one in [sink] output", path.display())]
    NotAFile {
        /// What is not a file.
        path: PathBuf,
    },
    /// Its end was not written by a worker, so that cutting it off would destroy somebody's data.
    #[error(
        "the output file {} ends, from byte {offset}, in something that no worker wrote; \
         name another [sink] output, or end the file with a newline",
        path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Where its last newline ends.
        offset: u64,
    },
    /// Whoever read our standard output went away, or what it leads to is full.
    #[error(
        "cannot write to standard output: {0}; start the worker together with the program that reads from it"
    )]
    StandardOutput(#[from] io::Error),
}
