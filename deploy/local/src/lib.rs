//! The whole of Portcullis on one machine: for trying it, for the end-to-end tests, for measuring.
//!
//! ```text
//! command ─▶ up ────────▶ stack ──────────────────────────────▶ demonstrate
//! one binary  until        database, keys and certificates,      one message with curl,
//! for all     Ctrl-C       main servers, proxies, workers        and how to send your own
//!         └─▶ soak ───────▶ stack, clients, faults ─────────────▶ was anything lost?
//! ```
//!
//! A [`Stack`] is any number of real processes over a private Postgres cluster, on free ports; many live
//! side by side. Nothing in it is mocked, and nothing outlives the process that started it.

pub mod command;
mod up;
mod interrupt;
mod stack;
mod demonstrate;
mod curl;
mod eventually;
mod relay;
pub mod soak;

pub use curl::{Answer, Curl};
pub use eventually::eventually;
pub use interrupt::Interrupt;
pub use private_postgres::{Cluster, ClusterOptions, psql};
pub use relay::Relay;
pub use stack::{Client, Kind, Process, Stack, StackOptions};
