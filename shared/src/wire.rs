//! What travels between the processes, as JSON, in the order a message travels.
//!
//! Both ends use these very types, so they cannot drift apart. Fields are only ever added, optional;
//! a reader ignores members that it does not know, so that old and new processes can run side by side.

pub mod submit;
pub mod status;
pub mod lease;
pub mod renew;
pub mod complete;
pub mod fail;
pub mod report;
pub mod problem;
#[cfg(test)]
mod frozen;

pub use problem::{Code, Problem};
