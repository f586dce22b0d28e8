//! How a holder is named on the command line: `client_001`, or for a service `worker/worker-1`, as in the audit log.

use std::str::FromStr;

use shared::identity::{InvalidSpiffeId, Name, Workload};

/// A client by its id, or any holder as `KIND/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HolderName(pub(super) Workload);

impl FromStr for HolderName {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let holder = match text.split_once('/') {
            None => Workload::Client(text.parse()?),
            Some(("client", name)) => Workload::Client(name.parse()?),
            Some((role, name)) => Workload::Service(role.parse()?, name.parse::<Name>()?),
        };
        Ok(Self(holder))
    }
}

/// What people call a holder: `client client_001`, `worker w1`.
pub(super) fn title(holder: &Workload) -> String {
    match holder {
        Workload::Client(name) => format!("client {name}"),
        Workload::Service(role, name) => format!("{role} {name}"),
    }
}

/// What a holder is called on the command line.
pub(super) fn argument(holder: &Workload) -> String {
    match holder {
        Workload::Client(name) => name.to_string(),
        Workload::Service(role, name) => format!("{role}/{name}"),
    }
}
