//! Where a connection comes from.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// An address, with its text: each line about a request has it.
#[derive(Debug, Clone)]
pub struct Remote {
    ip: IpAddr,
    text: Box<str>,
}

impl Remote {
    /// The address without the port.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip(), text: address.to_string().into() }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
