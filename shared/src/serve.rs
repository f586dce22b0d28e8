//! How a connection lives: accepted under a cap, shaken hands with, timed, served, closed politely.
//!
//! In: a listening socket, TLS, a router. Out: requests with the [`Connection`] they came on as an
//! extension. Refused: whoever is too many, too slow, or not believed. `axum::serve` has no timers and
//! accepts one handshake after the other, hence this loop.

mod limits;
mod activity;
mod stream;
mod linger;
mod unread;
mod connection;
mod door;
mod metrics;

pub use connection::{Connection, Connections};
pub use door::Door;
pub use limits::Limits;
pub use metrics::DoorMetrics;
