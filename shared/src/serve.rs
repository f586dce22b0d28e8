//! How a connection lives: let in under its bounds, shaken hands with, timed, served, closed politely.
//!
//! In: a listening socket, TLS, a router with the layer [`keep_bounds`], behind those that refuse certificates. Out:
//! requests with the [`Connection`] they came on, and their [`RequestId`], as extensions. Refused: whoever is too
//! many, too slow, too large, or not believed. `axum::serve` has no timers and accepts one handshake after the other,
//! hence this loop.

mod limits;
mod activity;
mod arrivals;
mod failures;
mod memory;
mod progress;
mod remote;
mod connection;
mod door;
mod handshake;
mod requests;
mod park;
mod patience;
mod frames;
mod own_answer;
mod stream;
mod head;
mod answer;
mod body;
mod linger;
mod metrics;

pub use answer::{RequestId, SetAside, check_bounds, keep_bounds};
pub use arrivals::network;
pub use body::BodyFault;
pub use connection::{Connection, Connections};
pub use door::{Door, DoorLimits};
pub use limits::Limits;
pub use metrics::DoorMetrics;
pub use progress::Stages;
pub use remote::Remote;
