//! A name under which a service is reached: what its certificate is checked against by those who call it.

use std::{fmt, net::IpAddr, str::FromStr};

use rustls_pki_types::DnsName;

/// A DNS name or an IP address, for the subject alternative names of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name in lower case, without wildcards and without a trailing dot.
    Dns(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

/// The text is neither a DNS name nor an IP address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a DNS name nor an IP address: give the host alone, without scheme, port or wildcard"
)]
pub struct InvalidHost(String);

impl Host {
    /// The names of this machine as seen from itself: `localhost`, `127.0.0.1` and `::1`.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        vec![
            Self::Dns("localhost".to_owned()),
            Self::Ip(std::net::Ipv4Addr::LOCALHOST.into()),
            Self::Ip(std::net::Ipv6Addr::LOCALHOST.into()),
        ]
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.to_ascii_lowercase();
        // All digits in the last label means a mistyped IPv4 address (WHATWG URL, "ends in a number").
        let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if numeric || name.ends_with('.') || DnsName::try_from(name.as_str()).is_err() {
            return Err(InvalidHost(text.to_owned()));
        }
        Ok(Self::Dns(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        assert_eq!("Proxy.Example".parse(), Ok(Host::Dns("proxy.example".to_owned())));
        assert_eq!("::1".parse::<Host>().map(|host| host.to_string()).as_deref(), Ok("::1"));
    }

    #[test]
    fn what_no_certificate_could_name_is_refused() {
        for text in [
            "",
            "https://proxy",
            "proxy:8001",
            "*.example.com",
            "a b",
            "example.com.",
            "127.0.0.256",
            "é.example",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
