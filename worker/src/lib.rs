//! The worker: leases jobs from a main server, delivers their messages to a sink, acknowledges them.
//!
//! The modules stand in the order in which a job travels:
//!
//! ```text
//! main server ──▶ server_api/lease ──▶ deliver ──▶ sink/jsonl ──▶ received_messages.jsonl
//!                                            └───▶ sink/stdout ──▶ whoever reads our standard output
//!                 server_api/{renew, complete, fail} ◀── deliver/batch ◀──┘
//! ---
//! config, backoff, metrics
//! ```
//!
//! Never here: the database, clients' certificates, what a message means.

mod server_api;
mod deliver;
pub mod sink;

mod config;
mod backoff;
mod metrics;
mod run;

pub use crate::{
    config::{
        Config, DeliveryConfig, ListenConfig, ServerConfig, ServerUrl, SinkConfig, SinkKind, TlsConfig,
    },
    run::run,
};
