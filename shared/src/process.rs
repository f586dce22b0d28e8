//! How every Portcullis process starts: configuration, logs, sockets (its own or those it is handed), then its `run`.
//!
//! In: the command line. Out: an exit code: 0, 64 for a bad configuration (sysexits `EX_USAGE`), 1 for a
//! failure at run time. Everything that can be refused is refused before the first connection.

mod activation;

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{error, info};

use crate::{
    config::{self, Bind, Configuration},
    service_manager,
    shutdown::Shutdown,
    telemetry,
};

/// How long tasks may take to end once `run` has returned.
const LAST_TASKS: Duration = Duration::from_secs(10);

/// How long threads that may block have after that.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// The options that every process has.
#[derive(Debug, Clone, Args)]
pub struct StartOptions {
    /// The configuration file (TOML); `PORTCULLIS_TABLE__KEY` variables override it
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration, print it as it takes effect, secrets redacted, and exit
    #[arg(long)]
    pub check_config: bool,
    /// Write the addresses listened on to this file, as JSON by door (for port 0)
    #[arg(long, value_name = "FILE", hide = true)]
    pub bound: Option<PathBuf>,
    /// Stop when standard input ends, so that no process outlives the one that started it
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
}

/// The bound sockets, by the name of the door.
#[derive(Debug)]
pub struct Listeners(BTreeMap<&'static str, TcpListener>);

impl Listeners {
    /// Takes the sockets that a service manager handed over, and binds the others; the error names the one that cannot
    /// be bound, and sockets that no door wants.
    pub fn open(binds: &[Bind]) -> anyhow::Result<Self> {
        let mut handed = activation::handed_over()?;
        let mut listeners = BTreeMap::new();
        for bind in binds {
            let Bind { door, address, .. } = *bind;
            let (listener, from) = match handed.take(door, address) {
                Some(socket) => (TcpListener::from_std(socket)?, "the service manager"),
                None => (listen(bind)?, "us"),
            };
            info!(door, address = %listener.local_addr()?, from, "listening");
            listeners.insert(door, listener);
        }
        handed.none_left(binds)?;
        Ok(Self(listeners))
    }

    /// Takes one socket out.
    pub fn take(&mut self, name: &str) -> anyhow::Result<TcpListener> {
        self.0.remove(name).with_context(|| format!("no listener named {name}"))
    }

    fn write_bound(&self, file: &Path) -> anyhow::Result<()> {
        let mut addresses = BTreeMap::new();
        for (name, listener) in &self.0 {
            addresses.insert(*name, listener.local_addr()?.to_string());
        }
        let temporary = file.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(&addresses)?)?;
        std::fs::rename(&temporary, file)?;
        Ok(())
    }
}

/// Connections that the kernel keeps for us until they are accepted; it has a bound of its own, `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

fn listen(bind: &Bind) -> anyhow::Result<TcpListener> {
    let Bind { door, address, reuse_port } = *bind;
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // or a process that was restarted waits for connections of its predecessor to be forgotten
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(reuse_port)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("cannot listen on {address} ({door}): is it in use?"))
}

/// Starts a process: loads its configuration, binds its sockets, runs it until it is told to stop.
pub fn start<C, F>(options: &StartOptions, run: impl FnOnce(C, Listeners, Shutdown) -> F) -> ExitCode
where
    C: Configuration,
    F: Future<Output = anyhow::Result<()>>,
{
    let config = match config::load::<C>(&options.config) {
        Ok(config) => config,
        Err(faults) => {
            say(std::io::stderr(), &faults);
            return ExitCode::from(64);
        }
    };
    if options.check_config {
        say(std::io::stdout(), &format_args!("{config:#?}"));
        return ExitCode::SUCCESS;
    }
    telemetry::init(config.log());
    let finished = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(telemetry::write_before_sleep)
        .on_thread_stop(telemetry::write_before_sleep)
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let finished = runtime.block_on(run_to_end(options, config, run));
            // A thread that is blocked for good, by a disk or by a reader that hangs, does not hold up the end.
            runtime.shutdown_timeout(LAST_THREADS);
            finished
        });
    match finished {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells a person, before logging starts. A reader that went away is no reason to fail.
fn say(mut to: impl std::io::Write, what: &dyn std::fmt::Display) {
    let _ = writeln!(to, "{what}");
}

async fn run_to_end<C, F>(
    options: &StartOptions,
    config: C,
    run: impl FnOnce(C, Listeners, Shutdown) -> F,
) -> anyhow::Result<()>
where
    C: Configuration,
    F: Future<Output = anyhow::Result<()>>,
{
    let shutdown = Shutdown::new();
    shutdown.obey_signals()?;
    service_manager::accompany(&shutdown);
    if options.stop_with_stdin {
        let stop = shutdown.clone();
        // A thread, not a task: a blocked read of standard input would keep the runtime from ending.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            stop.request();
        });
    }
    let listeners = Listeners::open(&config.binds())?;
    if let Some(file) = &options.bound {
        listeners.write_bound(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let finished = run(config, listeners, shutdown.clone()).await;
    shutdown.drained(LAST_TASKS).await;
    finished
}
