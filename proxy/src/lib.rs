//! The edge: authenticate → authorize → limit → forward.
//!
//! ```text
//! shared::serve   the connection, its certificate's path verified
//!   routes        every route, and the order of the layers
//!   edge          arrive → strip claims → admit (authorize, from memory)
//!     registry      the client table, in memory
//!     crls          the revocation lists, in memory
//!   limit         what a client may ask, and all together
//!   api           the handlers: read, validate, answer
//!   forward       adaptive batches to the main servers, over mTLS
//!   activity      who was seen
//!   report        that, and how current the registry is, to a main server, every second
//! ```
//!
//! Knows the client registry, the CRLs and the main servers. Never knows jobs, workers or the queue.

pub mod config;
mod run;
mod trust;
mod routes;
pub mod edge;
pub mod registry;
pub mod crls;
mod limit;
pub mod api;
mod forward;
pub mod activity;
mod report;
mod metrics;

pub use config::Config;
pub use run::run;
