//! The three CAs: which there are, whom each issues to, what messages call them.

use std::fmt;

use shared::identity::Workload;

/// One of the three CAs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ca {
    /// Signs the other two; its key should be offline.
    Root,
    /// Issues to clients.
    Clients,
    /// Issues to services.
    Services,
}

impl Ca {
    /// Every CA, the root first.
    pub const ALL: [Self; 3] = [Self::Root, Self::Clients, Self::Services];

    /// The one that issues to this holder.
    #[must_use]
    pub fn of(holder: &Workload) -> Self {
        match holder {
            Workload::Client(_) => Self::Clients,
            Workload::Service(..) => Self::Services,
        }
    }

    /// What messages call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Root => "root CA",
            Self::Clients => "clients CA",
            Self::Services => "services CA",
        }
    }
}

impl fmt::Display for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}
