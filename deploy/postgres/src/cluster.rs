//! A cluster: made once, started, stopped, killed, started again.
//!
//! In: options. Out: a postmaster that is our child, on a Unix socket only, with fsync on unless a caller
//! sets it off to prove that somebody refuses it. A cluster that is dropped is stopped.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::Signal;

use crate::{
    account::Account,
    binaries::Binaries,
    error::Error,
    guardian::Guardian,
    home::Home,
    server::{Postmaster, Server},
    sql,
};

/// The cluster's superuser. It needs no password: who reaches the socket may use it, and only the
/// cluster's own user and root reach it.
pub const SUPERUSER: &str = "postgres";

/// What kind of cluster to start.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    kept_in: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// A cluster whose data goes with it.
    #[must_use]
    pub fn throw_away() -> Self {
        Self::default()
    }

    /// A cluster whose data stays in this folder, to be started again. Where the server's user cannot enter
    /// the folder, the data lies elsewhere and the log still here.
    #[must_use]
    pub fn kept_in(folder: impl Into<PathBuf>) -> Self {
        Self { kept_in: Some(folder.into()), ..Self::default() }
    }

    /// Adds a server setting, such as `("fsync", "off")`; the last one of a name counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A private cluster. Dropping it stops it.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    guardian: Guardian,
    postmaster: Option<Postmaster>,
}

impl Cluster {
    /// Makes the data directory if there is none yet, and starts a server on it.
    pub fn start(options: ClusterOptions) -> Result<Self, Error> {
        let account = Account::choose()?;
        let home = match &options.kept_in {
            Some(folder) => Home::kept_in(folder, account)?,
            None => Home::throw_away(account)?,
        };
        let stop_signal = if home.goes_with_the_cluster() { "QUIT" } else { "INT" };
        let guardian = Guardian::start(stop_signal, &home.data, &home.rubbish)?;
        let binaries = Binaries::find(&home.data)?;
        let server = Server { binaries, account, home, settings: options.settings };
        server.initdb()?;
        let running = Mutex::new(Running { guardian, postmaster: None });
        let cluster = Self { server, running };
        cluster.restart()?;
        Ok(cluster)
    }

    /// A libpq URI for a database of this cluster, as a given role.
    #[must_use]
    pub fn url(&self, database: &str, user: &str) -> String {
        let folder = self.server.home.socket.to_string_lossy().replace('%', "%25").replace('/', "%2F");
        format!("postgresql://{user}@{folder}/{database}")
    }

    /// The postmaster's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running().postmaster.as_ref().map(Postmaster::pid)
    }

    /// Whether the postmaster is there: started by us, not stopped by us, and not ended by itself.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running().postmaster.as_mut().is_some_and(|postmaster| !postmaster.has_ended())
    }

    /// A throw-away cluster's folder: what others put there goes with the cluster.
    #[must_use]
    pub fn throw_away_folder(&self) -> Option<&Path> {
        self.server.home.goes_with_the_cluster().then_some(&self.server.home.rubbish)
    }

    /// Where the server writes its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.server.home.log
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.server.home.data
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        self.create_database_from("template0", name)
    }

    /// Creates a database as a copy of another one, to which nobody may be connected.
    pub fn create_database_from(&self, template: &str, name: &str) -> Result<(), Error> {
        let (name, template) = (sql::database_name(name)?, sql::database_name(template)?);
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
        sql::psql(&self.url("postgres", SUPERUSER), &statement).map(drop)
    }

    /// Whether a database of that name exists.
    pub fn has_database(&self, name: &str) -> Result<bool, Error> {
        let name = sql::database_name(name)?;
        let statement = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        Ok(sql::psql(&self.url("postgres", SUPERUSER), &statement)?.trim() == "1")
    }

    /// Stops the server as an administrator would: sessions are ended, a checkpoint is written.
    pub fn stop(&self) -> Result<(), Error> {
        self.end(Signal::INT)
    }

    /// Stops the server at once, as `pg_ctl stop -m immediate` does; the next start recovers from the WAL.
    pub fn stop_immediate(&self) -> Result<(), Error> {
        self.end(Signal::QUIT)
    }

    /// `kill -9` of the postmaster. Its other processes notice and go by themselves.
    pub fn kill_postmaster(&self) -> Result<(), Error> {
        self.end(Signal::KILL)
    }

    /// Starts the server again after one of the above, on the same socket; no effect while it runs.
    pub fn restart(&self) -> Result<(), Error> {
        let mut running = self.running();
        if running.postmaster.is_none() {
            running.postmaster = Some(self.server.launch(&mut running.guardian)?);
        }
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // what is inside is true after every single assignment, so a panic elsewhere spoils nothing
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, how: Signal) -> Result<(), Error> {
        let mut running = self.running();
        let Some(mut postmaster) = running.postmaster.take() else { return Ok(()) };
        postmaster.end(how);
        running.guardian.watch(None)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // if this fails, the guardian does it as soon as it is let go
        let _left_to_the_guardian =
            if self.server.home.goes_with_the_cluster() { self.stop_immediate() } else { self.stop() };
        self.running().guardian.dismiss();
    }
}
