//! The main server: stores what proxies verified, durably, and leases it to workers.
//!
//! The modules stand in the order in which a message meets them:
//!
//! ```text
//! proxy ──mTLS──▶ routes ─▶ admission ─▶ api::proxy ──▶ queue::submit ─▶ seal ─▶ Postgres
//!                   │            ▲                                                  │
//!                   │     registry, crls (services and revocation lists, in memory) │
//!                   │            └── api::proxy ──▶ reports (how far the proxies are, whom they saw)
//! worker ─mTLS──▶ routes ─▶ admission ─▶ api::worker ─▶ queue::{lease, renew, complete, fail}
//! ---
//! trust, config, app, cli: how it starts
//! ```
//!
//! It knows nothing of client TLS. All SQL on the queue's tables is under `queue`.

mod trust;
pub mod routes;
pub mod refusals;
pub mod admission;
pub mod registry;
pub mod crls;
mod prune;
pub mod api;
pub mod reports;
pub mod queue;
pub mod seal;
pub mod database;

pub mod config;
mod app;
pub mod cli;

pub use app::run;
pub use config::Config;
pub use database::migrate;
pub use seal::new_keyring;
