//! A main server whose key ring file is changed while it runs.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use main_server::{
    config::QueueConfig,
    database,
    queue::{Queue, QueueMetrics, reseal::Reseal},
    seal::{Keyring, add_key, new_keyring},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use shared::{
    identity::Name,
    shutdown::Shutdown,
    wire::{
        fail::FailedJob,
        lease::LeasedJob,
        submit::{SubmitOutcome, SubmittedMessage},
    },
};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use crate::stack::{PATIENCE, as_server, database_config, eventually, name, prepare};

/// A main server with a key ring file of its own.
pub(crate) struct Server {
    pub(crate) queue: Queue,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) file: PathBuf,
    pub(crate) onlooker: PgPool,
    metrics: Registry,
    pub(crate) pool: PgPool,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

impl Server {
    /// On a new database, with a new key ring.
    pub(crate) async fn new() -> (Self, String) {
        let url = private_postgres::fresh_database(prepare).unwrap();
        (Self::on(&url, None).await, url)
    }

    /// On this database, with a copy of this key ring.
    pub(crate) async fn on(url: &str, ring: Option<&PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyring.toml");
        match ring {
            Some(other) => drop(fs::copy(other, &file).unwrap()),
            None => new_keyring(&file).unwrap(),
        }
        let (keyring, shutdown) = (Arc::new(Keyring::load(&file).unwrap()), Shutdown::new());
        let pool = database::open(&database_config(&as_server(url))).await.unwrap().queue;
        let onlooker = PgPoolOptions::new().max_connections(2).connect_lazy(url).unwrap();
        let mut metrics = Registry::default();
        let of_queue = QueueMetrics::register(&mut metrics);
        keyring.watch(Duration::from_millis(20), &mut metrics, &shutdown);
        let config = QueueConfig::default();
        let queue = Queue::open(pool.clone(), keyring.clone(), &config, PATIENCE, of_queue, &shutdown);
        Self { queue, keyring, file, onlooker, metrics, pool, shutdown, _folder: folder }
    }

    /// From now on it seals anew what it finds.
    pub(crate) fn reseal(&mut self, server: &str) {
        let (pool, keyring) = (self.pool.clone(), self.keyring.clone());
        Reseal::new(pool, keyring, name(server), 10_000, PATIENCE, &mut self.metrics).start(&self.shutdown);
    }

    pub(crate) async fn store(&self, messages: &[SubmittedMessage]) {
        let results = self.queue.submit(name("proxy-1"), messages.to_vec(), 1).await.unwrap();
        assert!(results.iter().all(|result| result.outcome == SubmitOutcome::Queued), "{results:?}");
    }

    pub(crate) async fn lease(&self) -> Vec<LeasedJob> {
        self.queue.lease(&name("default"), 100, None, &name("worker-1")).await.unwrap()
    }

    pub(crate) async fn fail(&self, failed: &[FailedJob]) {
        self.queue.fail(failed).await.unwrap();
    }

    pub(crate) async fn value(&self, query: &str) -> String {
        let query = format!("SELECT coalesce(({query})::text, 'NULL')");
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&self.onlooker).await.unwrap()
    }

    pub(crate) async fn sql(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&self.onlooker).await.unwrap();
    }

    /// Messages and errors that are sealed under a key.
    pub(crate) async fn sealed_under(&self, key: &str) -> String {
        let messages = format!("SELECT count(*) FROM messages WHERE key_id = '{key}'");
        let errors = format!("SELECT count(*) FROM job_attempts WHERE error_key_id = '{key}'");
        self.value(&format!("SELECT ({messages}) || ' ' || ({errors})")).await
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.metrics).unwrap();
        text
    }

    /// Adds a key and waits until it is in force.
    pub(crate) async fn rotate(&self) -> Name {
        let key = add_key(&self.file).unwrap();
        eventually(|| async { self.keyring.current() == key }).await;
        key
    }

    pub(crate) async fn end(self) {
        drop(self.queue);
        self.shutdown.drained(PATIENCE).await;
        self.pool.close().await;
        self.onlooker.close().await;
    }
}

pub(crate) fn refused(job: &LeasedJob, error: &str) -> FailedJob {
    FailedJob {
        job_id: job.job_id,
        lease_token: job.lease_token,
        error: error.to_owned(),
        delay_seconds: Some(0),
        dead: false,
        released: false,
    }
}
