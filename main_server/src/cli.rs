//! What an operator does besides serving: `migrate` and `new-keyring`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::{Config, database::migrate, seal::new_keyring};

/// The verbs of `portcullis-server`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Bring a database to this version's schema
    Migrate(Database),
    /// Make a key ring with one key; refuses to overwrite
    NewKeyring {
        /// Where to write it (mode 0600)
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// Which database.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Database {
    /// A libpq URI; the user must be able to create roles and tables
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Take it from the server's configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Verb {
    /// Does it, and says what went wrong.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self {
            Self::Migrate(database) => database.migrate(),
            Self::NewKeyring { file } => new_keyring(&file).map_err(anyhow::Error::from),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            #[expect(clippy::print_stderr, reason = "a command-line verb tells its user")]
            Err(error) => {
                eprintln!("portcullis-server: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Database {
    fn migrate(self) -> anyhow::Result<()> {
        let url = match (self.database_url, self.config) {
            (Some(url), _) => url,
            (None, Some(file)) => shared::config::load::<Config>(&file)?.database.url.expose().to_owned(),
            (None, None) => anyhow::bail!("give --database-url or --config"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("cannot start")?.block_on(migrate(&url))
    }
}
