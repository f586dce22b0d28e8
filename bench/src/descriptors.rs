//! As many open files as this process may have: a connection is one, and a shell's usual soft limit is 1,024.
//!
//! Asked for by the load generator and by each process of our stack, never by what they are compared with: RabbitMQ
//! sizes its tables by the limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report;

/// Raises the soft limit to the hard one.
pub(crate) fn raise() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        report::warn(&format!("the limit of open files stays as it is (ulimit -n): {error}"));
    }
}
