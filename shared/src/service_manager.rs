//! What systemd, or whoever started us in its way, is told: ready, reloading, stopping, alive (`sd_notify(3)`).
//!
//! In: `NOTIFY_SOCKET` and `WATCHDOG_USEC` of the environment. Out: datagrams; none where nobody asked. Refused: nothing: a
//! manager that does not listen is no reason to fail, nor to wait.

use std::{
    os::unix::net::{SocketAddr, UnixDatagram},
    process,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tracing::{debug, warn};

use crate::{management::Readiness, shutdown::Shutdown};

/// One per process, as its environment is.
static MANAGER: OnceLock<Option<Manager>> = OnceLock::new();

const READY_ANYWAY: Duration = Duration::from_secs(10);

/// Somebody who wants to know how we are.
#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Killed without a word for so long.
    watchdog: Option<Duration>,
}

/// The process does what it is for, or does it again.
pub fn ready() {
    tell("READY=1");
}

/// Tells so when all checks hold, or after a while all the same: what this process waits for by itself, such as a database, is
/// no reason for a manager to give it up.
pub fn ready_when(readiness: Arc<Readiness>, shutdown: &Shutdown) {
    let until = shutdown.clone();
    shutdown.spawn("say that we are ready", async move {
        readiness.wait(READY_ANYWAY, &until).await;
        if !until.is_requested() {
            ready();
        }
    });
}

/// Files are read anew; [`ready`] ends that. The time tells the manager which signal it was for.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}{:06}", now.tv_sec, now.tv_nsec / 1000));
}

/// Says when the stop begins, and until its end, twice in the time that the watchdog allows, that the runtime still answers: its
/// timer has to wake a task, and a thread of it has to run that one and another. A process whose threads all
/// are stuck, though they live, says nothing, and is started again.
pub(crate) fn accompany(shutdown: &Shutdown) {
    let Some(manager) = manager() else { return };
    let stopping = shutdown.clone();
    shutdown.spawn_to_the_end("say that we stop", async move {
        tokio::select! {
            () = stopping.requested() => tell("STOPPING=1"),
            () = stopping.over() => {}
        }
    });
    let Some(patience) = manager.watchdog else { return };
    let until = shutdown.clone();
    shutdown.spawn_to_the_end("watchdog", async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(patience / 2) => {}
                () = until.over() => return,
            }
            let answer = until.spawn_to_the_end("answer the watchdog", async {});
            if answer.await.is_ok() {
                tell("WATCHDOG=1");
            }
        }
    });
}

fn tell(state: &str) {
    if let Some(manager) = manager()
        && let Err(error) = manager.socket.send_to_addr(state.as_bytes(), &manager.address)
    {
        debug!(%error, state, "the service manager does not listen");
    }
}

fn manager() -> Option<&'static Manager> {
    MANAGER.get_or_init(of_environment).as_ref()
}

fn of_environment() -> Option<Manager> {
    #[expect(clippy::disallowed_methods, reason = "what a service manager says is no configuration")]
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = variable("NOTIFY_SOCKET")?;
    let pid = variable("WATCHDOG_PID").is_none_or(|pid| pid == process::id().to_string());
    let watchdog = variable("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
    let watchdog = watchdog.filter(|micros| pid && *micros > 0).map(Duration::from_micros);
    let address = address(&name);
    match address.and_then(|address| Ok((socket()?, address))) {
        Ok((socket, address)) => Some(Manager { socket, address, watchdog }),
        Err(error) => {
            warn!(%error, socket = ?name, "NOTIFY_SOCKET cannot be used: nobody is told how this process is");
            None
        }
    }
}

/// One that never waits: it is written to by threads that answer requests.
fn socket() -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A path, or with `@` a name in Linux's abstract space.
fn address(name: &str) -> std::io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(name)
}
