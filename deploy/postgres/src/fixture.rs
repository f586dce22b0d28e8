//! What tests need: one cluster for the whole test binary and a database of its own for each test.
//!
//! In: how to prepare a database (usually: migrate it), used once. Out: fresh copies of it. Roles belong
//! to the cluster, so tests share them; everything else is each test's own.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use crate::{
    cluster::{Cluster, ClusterOptions, SUPERUSER},
    error::Error,
};

const TEMPLATE: &str = "prepared";

/// Whatever the caller's preparation fails with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// This process's cluster, started at the first call. It stops, and its data goes, when the process ends.
pub fn shared() -> Result<&'static Cluster, Error> {
    static CLUSTER: OnceLock<Result<Cluster, Error>> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(ClusterOptions::throw_away())).as_ref().map_err(Clone::clone)
}

/// The URL of a new database in [`shared`], a copy of one that `prepare` was given once in this process.
///
/// `prepare` runs on a thread of its own, so it may block on a runtime of its own even when the caller is
/// inside one. It must close its connections: a database in use cannot be copied.
pub fn fresh_database<P>(prepare: P) -> Result<String, Error>
where
    P: FnOnce(&str) -> Result<(), Failure> + Send,
{
    static PREPARED: OnceLock<Result<(), Error>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(1);

    let cluster = shared()?;
    PREPARED.get_or_init(|| make_template(cluster, prepare)).clone()?;
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    cluster.create_database_from(TEMPLATE, &name)?;
    Ok(cluster.url(&name, SUPERUSER))
}

fn make_template<P>(cluster: &Cluster, prepare: P) -> Result<(), Error>
where
    P: FnOnce(&str) -> Result<(), Failure> + Send,
{
    cluster.create_database(TEMPLATE)?;
    let url = cluster.url(TEMPLATE, SUPERUSER);
    let outcome = thread::scope(|scope| scope.spawn(|| prepare(&url)).join());
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(Error::Prepare(failure.to_string())),
        Err(_) => Err(Error::Prepare("it panicked".to_owned())),
    }
}
