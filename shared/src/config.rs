//! Configuration: a TOML file, overridden by the environment, checked whole before anything is bound.
//!
//! In: a file and `PORTCULLIS_<TABLE>__<KEY>` variables (`__` separates levels; values are TOML or plain
//! text). Out: one struct per concern. Refused, all at once and by name: unknown tables and keys, values
//! of the wrong type or unit, and whatever the process itself finds contradictory.

mod database_url;
mod file;
mod source;
mod units;

use std::{fmt::Debug, net::SocketAddr, path::Path};

pub use database_url::DatabaseUrl;
pub use file::File;
pub use source::{Faults, Source};
pub use units::{ByteSize, Span};

use crate::telemetry::LogConfig;

/// The configuration of one process.
pub trait Configuration: Sized + Debug + Send + 'static {
    /// Takes its tables from `source`, recording faults there; the result is used only if there are none.
    fn read(source: &mut Source) -> Self;

    /// The file it was read from.
    fn file(&self) -> &File;

    /// What to bind.
    fn binds(&self) -> Vec<Bind>;

    /// The table `[log]`.
    fn log(&self) -> &LogConfig;
}

/// A socket to listen on.
#[derive(Debug, Clone, Copy)]
pub struct Bind {
    /// Its key in the table `[listen]`, and its name where it is handed over by a service manager.
    pub door: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// Lets others of our user listen there too; the kernel shares connections out among them.
    pub reuse_port: bool,
}

/// Reads a configuration; every fault is reported, not only the first.
pub fn load<C: Configuration>(file: &Path) -> Result<C, Faults> {
    let mut source = Source::read(file)?;
    let config = C::read(&mut source);
    if let Err(text) = config.log().check() {
        source.fault("log.level", text);
    }
    source.finish()?;
    Ok(config)
}
