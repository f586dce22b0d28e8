//! A service manager, as systemd is one: it starts a process, hears what the process says of itself, and holds its socket.
//!
//! In: a process of a stack, which is not running. Out: the same process under the manager, and its datagrams.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    fs::File,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::{Child, Command, ExitStatus, Stdio},
};

use local::{Process, eventually};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::DEADLINE;

/// The manager of one process.
pub(crate) struct Manager {
    heard: UnixDatagram,
    address: String,
    variables: Vec<(&'static str, String)>,
    socket: Option<TcpListener>,
    _folder: TempDir,
}

/// A process under it; it is killed when this is dropped.
pub(crate) struct Managed(Child);

impl Manager {
    /// Listens in the file system, or under a name that is no file.
    pub(crate) fn new(abstract_name: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").display().to_string();
        let (heard, address) = if abstract_name {
            let name = SocketAddr::from_abstract_name(&path).unwrap();
            (UnixDatagram::bind_addr(&name), format!("@{path}"))
        } else {
            (UnixDatagram::bind(&path), path)
        };
        let heard = heard.unwrap();
        heard.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { heard, address, variables: Vec::new(), socket: None, _folder: folder }
    }

    /// Sets a variable of the process's environment.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Hands this socket over to the process, under this name.
    pub(crate) fn handing_over(mut self, socket: TcpListener, name: &str) -> Self {
        self.socket = Some(socket);
        self.with("LISTEN_FDNAMES", name)
    }

    /// Starts the process, with the configuration that it has in its stack.
    pub(crate) fn start(&self, process: &Process) -> Managed {
        let (config, program) = (process.config.as_os_str(), env!("CARGO_BIN_EXE_portcullis-local"));
        // a shell, because who is meant is named by an id that there is not before it runs
        let activated = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        let script = if self.socket.is_some() { activated } else { "exec \"$@\"" };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh", program, process.kind.as_str(), "--config"]).arg(config);
        command
            .env("NOTIFY_SOCKET", &self.address)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        let log = File::options().append(true).create(true).open(&process.log).unwrap();
        let socket = self.socket.as_ref().map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        Managed(command.stdin(socket.map_or_else(Stdio::null, Stdio::from)).stderr(log).spawn().unwrap())
    }

    /// Whether it was told so much, and heard nothing of it, that nothing more can be said.
    pub(crate) fn is_deaf(&self) -> bool {
        let another = UnixDatagram::unbound().unwrap();
        another.set_nonblocking(true).unwrap();
        let said = another.send_to_addr(b"X=1", &self.heard.local_addr().unwrap());
        said.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// The next thing that the process says, leaving out that it is alive.
    pub(crate) fn hears(&self) -> String {
        loop {
            let said = self.hears_anything();
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    }

    /// The next thing that it says.
    pub(crate) fn hears_anything(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.heard.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

impl Managed {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    pub(crate) fn ends(&mut self) -> ExitStatus {
        eventually(DEADLINE, || self.0.try_wait().unwrap()).unwrap()
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        self.0.wait().unwrap();
    }
}
