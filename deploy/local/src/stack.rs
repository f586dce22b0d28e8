//! A running Portcullis: database, certificates, main servers, proxies and workers.
//!
//! In: [`StackOptions`]. Out: real processes on free ports, and handles to stop, kill and restart each of
//! them, to register clients, and to read what the workers delivered. Dropping it stops everything in the
//! order in which nothing is lost: proxies, workers, main servers, database.

mod options;
mod database;
mod pki;
mod lists;
mod ports;
mod configure;
mod probe;
mod process;
mod launch;
mod delivered;
mod record;

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use private_postgres::{Cluster, psql};

use self::{
    database::{Database, OPERATOR},
    pki::Pki,
    ports::Ports,
};
use crate::{Curl, eventually};

pub(crate) use self::process::tail;
pub use self::{
    options::StackOptions,
    pki::Client,
    process::{Kind, Process},
};

/// How long a change of the client table may take to reach every proxy.
const REGISTRY: Duration = Duration::from_secs(15);

/// Everything that runs, in the order in which a message meets it.
#[derive(Debug)]
pub struct Stack {
    /// The edge.
    pub proxies: Vec<Proxy>,
    /// The centre.
    pub main_servers: Vec<MainServer>,
    /// The other edge.
    pub workers: Vec<Worker>,
    folder: PathBuf,
    keyring: PathBuf,
    options: StackOptions,
    ports: Ports,
    pki: Pki,
    database: Database,
    clients: AtomicU32,
}

/// A proxy.
#[derive(Debug)]
pub struct Proxy {
    /// `https://localhost:PORT`.
    pub url: String,
    /// Its process.
    pub process: Process,
}

/// A main server.
#[derive(Debug)]
pub struct MainServer {
    /// The proxy door.
    pub url: String,
    /// The worker and operator door.
    pub worker_url: String,
    /// Its process.
    pub process: Process,
}

/// A worker.
#[derive(Debug)]
pub struct Worker {
    /// The file it writes each message to.
    pub output: PathBuf,
    /// Its certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Its process.
    pub process: Process,
}

impl Stack {
    /// Starts everything and waits until all of it is ready.
    pub fn start(options: StackOptions) -> anyhow::Result<Self> {
        let mut stack = Self::prepare(options)?;
        for _ in 0..stack.options.main_servers {
            stack.launch_main_server("")?;
        }
        for _ in 0..stack.options.proxies {
            stack.launch_proxy("")?;
        }
        for _ in 0..stack.options.workers {
            stack.launch_worker("")?;
        }
        stack.processes().try_for_each(Process::wait_until_ready)?;
        stack.ports.remember()?;
        Ok(stack)
    }

    /// The first proxy's `https://localhost:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.proxies.first().map_or("", |proxy| &proxy.url)
    }

    /// All processes, in the order in which they are stopped.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let proxies = self.proxies.iter().map(|proxy| &proxy.process);
        let workers = self.workers.iter().map(|worker| &worker.process);
        proxies.chain(workers).chain(self.main_servers.iter().map(|server| &server.process))
    }

    /// The folder of certificates and keys, laid out as `portcullis-certs` does.
    #[must_use]
    pub fn pki(&self) -> &Path {
        &self.pki.folder
    }

    /// The authority itself, for certificates that nobody should accept.
    #[must_use]
    pub fn authority(&self) -> &certs::Authority {
        &self.pki.authority
    }

    /// A client of this name with its certificate, registered; the one from before if there is one.
    pub fn client(&self, id: &str) -> anyhow::Result<Client> {
        self.pki.client(id)
    }

    /// A new registered client, which every proxy knows already.
    pub fn fresh_client(&self) -> anyhow::Result<Client> {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let client = self.client(&format!("fresh_{number:04}"))?;
        self.wait_until_known(&client)?;
        Ok(client)
    }

    /// Waits until every proxy admits a client.
    pub fn wait_until_known(&self, client: &Client) -> anyhow::Result<()> {
        for proxy in &self.proxies {
            let url = format!("{}/api/v1/whoami", proxy.url);
            let mut last = None;
            let known = eventually(REGISTRY, || {
                last = Some(Curl::of(client).get(&url));
                matches!(&last, Some(Ok(answer)) if answer.status == 200).then_some(())
            });
            known.with_context(|| format!("{url} does not admit {}: {last:?}", client.id))?;
        }
        Ok(())
    }

    /// Runs SQL as an operator would, and returns its rows.
    pub fn sql(&self, statements: &str) -> anyhow::Result<String> {
        Ok(psql(&self.database_url(), statements)?)
    }

    /// The database with the operator's rights.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.database.url_as(OPERATOR)
    }

    /// The database with every right.
    #[must_use]
    pub fn owner_url(&self) -> &str {
        &self.database.owner_url
    }

    /// The Postgres cluster, if it is this stack's alone: to stop it, to kill it, to start it again.
    #[must_use]
    pub fn postgres(&self) -> Option<&Cluster> {
        self.database.own_cluster()
    }

    /// The folder that holds everything of this stack.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops everything in order. The first failure is answered when all is stopped.
    pub fn stop(&self) -> anyhow::Result<()> {
        let outcomes: Vec<_> = self.processes().map(Process::stop).collect();
        let database = self.database.own_cluster().map_or(Ok(()), Cluster::stop);
        outcomes.into_iter().collect::<Result<(), _>>()?;
        Ok(database?)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if failing {
            self.processes().for_each(|process| crate::up::warn(&process.log_tail()));
        }
        let stopped = self.stop();
        // a process that does not stop when asked is a defect like any other, and no test may hide it
        if let Err(error) = stopped {
            let text = format!("{error:#}");
            if failing { crate::up::warn(&text) } else { panic!("{text}") }
        }
    }
}

/// Runs a future to its end, also where the caller is inside a runtime: on a thread with one of its own.
/// The future is made on that thread and need not be `Send`.
fn block_on<T: Send, F: Future<Output = T>>(make: impl FnOnce() -> F + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(make()))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
