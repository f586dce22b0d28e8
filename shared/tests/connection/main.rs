//! Which certificates are believed, and how connections live and end, over real TLS.

#![expect(clippy::unwrap_used, reason = "a test whose fixtures cannot be made cannot go on")]

mod support;
mod distort;

mod parked;
mod paths;
mod bundles;
mod name_constraints;
mod chains;
mod doors;
mod bounds;
mod http2_bounds;
mod door_metrics;
mod gate;
mod resumption;
mod crls;
mod spans;
