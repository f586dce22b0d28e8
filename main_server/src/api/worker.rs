//! The worker door: the verbs on jobs, one per file.

mod lease;
mod renew;
mod complete;
mod fail;

pub use complete::complete;
pub use fail::fail;
pub use lease::lease;
pub use renew::renew;

/// The longest a lease may last, in seconds; the table `queues` has the same bound.
const MAX_LEASE_SECONDS: u32 = 43_200;

/// The longest a failed job may be put off, in seconds: a week, as in the table `queues`.
const MAX_DELAY_SECONDS: u32 = 604_800;
