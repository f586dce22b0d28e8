//! What kind of stack to start.

use std::path::PathBuf;

use private_postgres::ClusterOptions;

use super::database::Place;
use crate::interrupt::Interrupt;

/// How many of each, where, and over which database. The default is one of each over a database of its own on
/// a cluster that this process's stacks share; all of it goes with the process.
#[derive(Debug, Clone)]
pub struct StackOptions {
    pub(super) executable: PathBuf,
    pub(super) folder: Option<PathBuf>,
    pub(super) place: Place,
    pub(super) proxies: usize,
    pub(super) main_servers: usize,
    pub(super) workers: usize,
    pub(super) documented_ports: bool,
    pub(super) proxy_patch: String,
    pub(super) main_server_patch: String,
    pub(super) worker_patch: String,
    pub(super) interrupt: Interrupt,
}

impl StackOptions {
    /// `executable` is `portcullis-local`, which starts each process as itself.
    #[must_use]
    pub fn new(executable: impl Into<PathBuf>) -> Self {
        Self {
            executable: executable.into(),
            folder: None,
            place: Place::Shared,
            proxies: 1,
            main_servers: 1,
            workers: 1,
            documented_ports: false,
            proxy_patch: String::new(),
            main_server_patch: String::new(),
            worker_patch: String::new(),
            interrupt: Interrupt::default(),
        }
    }

    /// How many of each. Of none, [`super::Stack::add_proxy`] and its like may add some later.
    #[must_use]
    pub fn processes(mut self, proxies: usize, main_servers: usize, workers: usize) -> Self {
        (self.proxies, self.main_servers, self.workers) = (proxies, main_servers, workers);
        self
    }

    /// Keeps everything in this folder, and reuses what is there.
    #[must_use]
    pub fn kept_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Uses a cluster that no other stack uses, so that it may be stopped.
    #[must_use]
    pub fn own_cluster(mut self, cluster: ClusterOptions) -> Self {
        self.place = Place::Own(cluster);
        self
    }

    /// Uses a database that somebody else looks after.
    #[must_use]
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.place = Place::External(url.into());
        self
    }

    /// Prefers the documented ports (8001 to 8003, 9001 to 9003) where they are free.
    #[must_use]
    pub fn documented_ports(mut self) -> Self {
        self.documented_ports = true;
        self
    }

    /// TOML to lay over the configuration of every proxy.
    #[must_use]
    pub fn proxy_config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.proxy_patch);
        self
    }

    /// TOML to lay over the configuration of every main server.
    #[must_use]
    pub fn main_server_config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.main_server_patch);
        self
    }

    /// TOML to lay over the configuration of every worker.
    #[must_use]
    pub fn worker_config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.worker_patch);
        self
    }

    /// Gives up starting when this is asked.
    #[must_use]
    pub fn interrupted_by(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }
}
