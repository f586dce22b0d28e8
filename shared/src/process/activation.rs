//! Sockets that a service manager bound for us (`sd_listen_fds(3)`): connections then wait for us, and not for a port, while
//! we are started again.
//!
//! In: `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES` of the environment. Out: a socket per door, told by its name, which is the door's
//! key in `[listen]`, or by its address. Refused: what is no listening TCP socket, and sockets that no door wants.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use listenfd::ListenFd;

use crate::config::Bind;

/// What is left of them.
#[derive(Debug, Default)]
pub(super) struct HandedOver(Vec<(String, SocketAddr, TcpListener)>);

/// All of them.
pub(super) fn handed_over() -> anyhow::Result<HandedOver> {
    #[expect(clippy::disallowed_methods, reason = "what a service manager says is no configuration")]
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..handed.len() {
        let name = names.next().unwrap_or_default();
        let what = || format!("LISTEN_FDS: socket {} ({name:?}) of the service manager", index + 1);
        let socket = handed.take_tcp_listener(index).with_context(what)?.with_context(what)?;
        socket.set_nonblocking(true).with_context(what)?;
        sockets.push((name.clone(), socket.local_addr().with_context(what)?, socket));
    }
    Ok(HandedOver(sockets))
}

impl HandedOver {
    /// The socket of a door. A name counts more than an address.
    pub(super) fn take(&mut self, door: &str, address: SocketAddr) -> Option<TcpListener> {
        let by_name = self.0.iter().position(|(name, ..)| name == door);
        let found = by_name.or_else(|| self.0.iter().position(|(_, own, _)| *own == address))?;
        Some(self.0.swap_remove(found).2)
    }

    /// Refuses to go on with a socket on which nobody would ever answer.
    pub(super) fn none_left(self, binds: &[Bind]) -> anyhow::Result<()> {
        let Some((name, address, _)) = self.0.first() else { return Ok(()) };
        let doors: Vec<_> = binds.iter().map(|bind| bind.door).collect();
        bail!(
            "the service manager hands over a socket {name:?} on {address}, which no door is for: set FileDescriptorName= \
             to one of {}",
            doors.join(", ")
        )
    }
}
