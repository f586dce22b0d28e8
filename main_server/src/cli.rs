//! What an operator does besides serving: `migrate`, `new-keyring` and `rotate-keys`.

mod rotate_keys;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use shared::config::DatabaseUrl;

use self::rotate_keys::RotateKeys;
use crate::{Config, database::migrate, seal::new_keyring};

/// The verbs of `portcullis-server`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Bring a database to this version's schema
    Migrate(Target),
    /// Make a key ring with one key; refuses to overwrite
    NewKeyring {
        /// Where to write it (mode 0600)
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Add a key to a key ring and make it the current one; the earlier ones stay
    RotateKeys(RotateKeys),
}

/// Which database.
#[derive(Debug, Args)]
pub struct Target {
    /// A libpq URI; the user must be able to create roles and tables
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<DatabaseUrl>,
    /// Allow a database over TCP without sslmode=verify-full
    #[arg(long)]
    unsafe_plaintext_database: bool,
    /// Take it from the server's configuration file instead
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Verb {
    /// Does it, and says what went wrong.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self {
            Self::Migrate(target) => target.migrate(),
            Self::NewKeyring { file } => new_keyring(&file).map_err(anyhow::Error::from),
            Self::RotateKeys(rotate) => rotate.run(),
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

impl Target {
    fn migrate(self) -> anyhow::Result<()> {
        let url = self.url()?;
        block_on(migrate(url.expose()))
    }

    fn url(self) -> anyhow::Result<DatabaseUrl> {
        match (self.config, self.database_url) {
            (Some(file), _) => Ok(shared::config::load::<Config>(&file)?.database.url),
            (None, Some(url)) => {
                let checked = url.check(self.unsafe_plaintext_database).map_err(|fault| {
                    fault.replace("unsafe_plaintext_database = true", "--unsafe-plaintext-database")
                });
                checked.map_err(|fault| anyhow::anyhow!("--database-url {fault}"))?;
                Ok(url)
            }
            (None, None) => anyhow::bail!("give --config, --database-url or DATABASE_URL"),
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start")?.block_on(work)
}
