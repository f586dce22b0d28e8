//! One process of the stack: started, asked to stop, killed, started again on the same ports.
//!
//! In: an executable and a configuration file. Out: a child in a process group of its own, whose standard
//! input we hold: when we are gone, however that came about, it reads the end of it and stops.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::probe;
use crate::{eventually, interrupt::Interrupt};

/// How long `/readyz` may take to say 200.
const READY: Duration = Duration::from_mins(1);
/// How long a process may take to stop when asked, before it is told, and then killed.
const STOP: Duration = Duration::from_secs(20);

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The edge.
    Proxy,
    /// The centre.
    MainServer,
    /// The other edge.
    Worker,
}

impl Kind {
    /// The word on the command line, in certificates and in file names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::MainServer => "main-server",
            Self::Worker => "worker",
        }
    }
}

/// A process that is, was or will be running.
#[derive(Debug)]
pub struct Process {
    /// What it is.
    pub kind: Kind,
    /// Its own name, such as `proxy-1`; in its certificate too.
    pub name: String,
    /// Its configuration.
    pub config: PathBuf,
    /// What it wrote to its standard error, over all its starts.
    pub log: PathBuf,
    pub(super) executable: PathBuf,
    /// Written by the process itself once it listens.
    pub(super) bound: PathBuf,
    pub(super) management: SocketAddr,
    pub(super) interrupt: Interrupt,
    pub(super) running: Mutex<Option<Running>>,
}

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts it and waits until it is ready.
    pub fn start(&self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_until_ready()
    }

    /// Starts it, if it is not running, and does not wait.
    pub fn spawn(&self) -> anyhow::Result<()> {
        let mut running = self.running();
        if running.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot open {}", self.log.display()))?;
        let _none_yet = fs::remove_file(&self.bound);
        let mut child = Command::new(&self.executable)
            .arg(self.kind.as_str())
            .arg("--config")
            .arg(&self.config)
            .arg("--bound")
            .arg(&self.bound)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", self.executable.display()))?;
        let stdin = child.stdin.take();
        *running = Some(Running { child, stdin });
        Ok(())
    }

    /// Waits until it listens. `Ok(false)`: it ended before it did.
    pub(super) fn wait_until_bound(&self) -> anyhow::Result<bool> {
        let outcome = eventually(READY, || {
            if self.bound.exists() {
                Some(Ok(true))
            } else if self.ended().is_some() {
                Some(Ok(false))
            } else {
                self.interrupt.is_asked().then(|| Err(anyhow::anyhow!("interrupted")))
            }
        });
        outcome.unwrap_or_else(|| bail!("{} does not listen after {READY:?}\n{}", self.name, self.log_tail()))
    }

    /// Waits until `/readyz` says 200.
    pub fn wait_until_ready(&self) -> anyhow::Result<()> {
        let mut last = String::new();
        let outcome = eventually(READY, || {
            if let Some(status) = self.ended() {
                let tail = self.log_tail();
                return Some(Err(anyhow::anyhow!(
                    "{} ended ({status}) before it was ready\n{tail}",
                    self.name
                )));
            }
            if self.interrupt.is_asked() {
                return Some(Err(anyhow::anyhow!("interrupted")));
            }
            match self.get("/readyz") {
                Ok((200, _)) => Some(Ok(())),
                Ok((_, body)) => {
                    last = body;
                    None
                }
                Err(_) => None,
            }
        });
        outcome.unwrap_or_else(|| {
            bail!("{} is not ready after {READY:?}: {last}\n{}", self.name, self.log_tail())
        })
    }

    /// Asks the management listener, such as for `/metrics`: the status and the body.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        probe::get(self.management, path)
    }

    /// `http://127.0.0.1:PORT` of `/livez`, `/readyz` and `/metrics`.
    #[must_use]
    pub fn management(&self) -> String {
        format!("http://{}", self.management)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running().as_ref().map(|running| running.child.id())
    }

    /// How it ended, if it was started, was not stopped by us, and runs no more.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.running().as_mut().and_then(|running| running.child.try_wait().ok().flatten())
    }

    /// Asks it to stop and waits for it. What does not stop when asked is told by SIGTERM (which makes the
    /// stop a hard one), then killed; both are errors.
    pub fn stop(&self) -> anyhow::Result<()> {
        let Some(mut running) = self.running().take() else { return Ok(()) };
        drop(running.stdin.take());
        if running.ends_within(STOP) {
            return Ok(());
        }
        running.signal(Signal::TERM);
        if !running.ends_within(STOP / 4) {
            running.signal(Signal::KILL);
            running.child.wait()?;
        }
        bail!("{} did not stop within {STOP:?} when asked to\n{}", self.name, self.log_tail())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&self) -> anyhow::Result<()> {
        let Some(mut running) = self.running().take() else { return Ok(()) };
        running.child.kill()?;
        running.child.wait()?;
        Ok(())
    }

    /// Sends it a signal, such as `Signal::STOP` and `Signal::CONT`.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = self.running().as_ref() {
            running.signal(signal);
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // not reaped yet, so the pid is still its own; if it has just ended, all is well
            let _already_gone = kill_process(pid, signal);
        }
    }

    fn ends_within(&mut self, patience: Duration) -> bool {
        eventually(patience, || self.child.try_wait().ok().flatten()).is_some()
    }
}

/// The last lines of a log, each marked, under its name.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(20)..];
    format!("the end of {}:\n  {}", log.display(), last.join("\n  "))
}
