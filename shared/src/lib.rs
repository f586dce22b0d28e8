//! What both ends of a wire must agree on, and how every Portcullis process starts and stops.
//!
//! The modules stand in the order in which a connection meets them:
//!
//! ```text
//! identity  who a certificate says it is
//! tls       which certificates are believed, and by whom
//! serve     how a connection lives: accepted, timed, closed
//! wire      what travels on it
//! ---
//! background, config, telemetry, traces, openapi, management, shutdown, reload, service_manager, process: how a process
//!     starts, shows itself, changes and stops
//! ```
//!
//! Never here: SQL, routes of the product, policy.

/// Of every process: see `mimalloc` in the root Cargo.toml. A fuzzer watches over the allocations itself.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod identity;
pub mod tls;
pub mod serve;
pub mod wire;

pub mod background;
pub mod config;
pub mod telemetry;
pub mod traces;
pub mod openapi;
pub mod management;
pub mod shutdown;
pub mod reload;
pub mod service_manager;
pub mod process;
