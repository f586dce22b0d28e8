//! SPIFFE ids: the URI in a certificate's subject alternative name that says what it was issued for.
//!
//! `spiffe://<trust domain>/client/<id>` for clients and `spiffe://<trust domain>/<role>/<name>` for
//! services (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>).

use std::{fmt, str::FromStr};

use super::{InvalidName, Name};

/// What a service may be. Each door of the main server admits a list of roles; an empty list admits nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Terminates client TLS and forwards messages.
    Proxy,
    /// Stores messages and leases jobs.
    MainServer,
    /// Leases, delivers and completes jobs.
    Worker,
    /// A person or tool that looks after clients and queues.
    Operator,
}

impl Role {
    /// Every role, in the order a message meets them.
    pub const ALL: [Self; 4] = [Self::Proxy, Self::MainServer, Self::Worker, Self::Operator];

    /// The word used in SPIFFE ids, in the `services` table and on command lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::MainServer => "main-server",
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(InvalidSpiffeId::Kind)
    }
}

/// What the holder of a SPIFFE id is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// A client, by its `client_id`.
    Client(Name),
    /// One of our processes, by role and name.
    Service(Role, Name),
}

/// `spiffe://<trust domain>/<kind>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// The trust domain, such as `portcullis.internal`.
    pub trust_domain: String,
    /// Who holds the id.
    pub workload: Workload,
}

/// Why a text is no SPIFFE id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// Not `spiffe://domain/kind/name`.
    #[error("a SPIFFE id of ours reads spiffe://<trust domain>/<client or role>/<name>")]
    Shape,
    /// The second part is neither `client` nor a role.
    #[error("the kind must be client, proxy, main-server, worker or operator")]
    Kind,
    /// The last part is no name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let rest = text.strip_prefix("spiffe://").ok_or(InvalidSpiffeId::Shape)?;
        let mut parts = rest.split('/');
        let (Some(domain), Some(kind), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidSpiffeId::Shape);
        };
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(legal) {
            return Err(InvalidSpiffeId::Shape);
        }
        let name: Name = name.parse()?;
        let workload = match kind {
            "client" => Workload::Client(name),
            role => Workload::Service(role.parse()?, name),
        };
        Ok(Self { trust_domain: domain.to_owned(), workload })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = &self.trust_domain;
        match &self.workload {
            Workload::Client(name) => write!(f, "spiffe://{domain}/client/{name}"),
            Workload::Service(role, name) => write!(f, "spiffe://{domain}/{role}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_no_id_or_the_one_way_to_write_it(
            text in "(spiffe|SPIFFE|https)://[a-zA-Z.:%]{0,4}(/(client|proxy|main-server|worker|operator|admin|é)?){1,2}/[a-zA-Z0-9._%? -]{0,6}",
        ) {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn ids_read_back_as_written() {
        for text in ["spiffe://portcullis.internal/client/client_001", "spiffe://td/main-server/main-1"] {
            assert_eq!(text.parse::<SpiffeId>().map(|id| id.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "https://td/client/a",
            "spiffe:///client/a",
            "spiffe://TD/client/a",
            "spiffe://td/client",
            "spiffe://td/client/a/b",
            "spiffe://td/admin/a",
            "spiffe://td/client/a?x",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }
}
