//! Private Postgres clusters: started by whoever needs one, never the system's, never left behind.
//!
//! In: a place for the data (or none: a throw-away cluster) and settings. Out: a running cluster on a
//! Unix socket that only its owner reaches, and libpq URIs that both `psql` and sqlx accept. Refused:
//! TCP, running as root, and outliving the process that started it.
//!
//! ```text
//! binaries ─▶ account ─▶ home ──▶ guardian ──▶ server ─▶ cluster ─▶ sql ─▶ fixture
//! which       as whom    where    who stops    initdb,   start,     psql   one per test binary,
//! postgres    it runs    it lies  it for sure  ready     stop, kill        a database per test
//! ```

mod binaries;
mod account;
mod home;
mod guardian;
mod server;
mod cluster;
mod sql;
mod fixture;
mod error;

pub use cluster::{Cluster, ClusterOptions, SUPERUSER};
pub use error::Error;
pub use fixture::{Failure, fresh_database, shared};
pub use sql::{apply_migrations, migrations_folder, psql};
