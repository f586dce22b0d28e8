//! Why a cluster cannot be had. Cloneable, because one failed start answers every test of a binary.

use std::{io, path::PathBuf, process::ExitStatus, sync::Arc};

/// Why a private cluster did not start, stop or answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no server to run.
    #[error(
        "no PostgreSQL server under /usr/lib/postgresql/*/bin nor in PATH; install one: \
         apt-get install -y --no-install-recommends postgresql"
    )]
    NoServer,
    /// Postgres refuses to run as root, and there is nobody else.
    #[error(
        "postgres does not run as root and /etc/passwd has neither `postgres` nor `nobody`: add one of them"
    )]
    NoAccount,
    /// A file or folder is not as needed.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried, such as `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A program could not be run at all.
    #[error("cannot run {program}: {source}")]
    Run {
        /// Which.
        program: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A program ran and failed.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// Which.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// The server ended, or said nothing, instead of accepting connections.
    #[error("postgres did not become ready; the end of {}:\n{tail}", log.display())]
    NotReady {
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A database name that is not plain lower-case ASCII.
    #[error("database name {0:?}: use a-z, 0-9 and _, at most 63 characters")]
    DatabaseName(String),
    /// The closure that prepares the template database failed.
    #[error("preparing the template database: {0}")]
    Prepare(String),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source: Arc::new(source) }
    }

    pub(crate) fn run(program: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let program = program.into();
        move |source| Self::Run { program, source: Arc::new(source) }
    }
}
