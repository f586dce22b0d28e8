//! What the tests have in common: a queue on a fresh database, and an onlooker with a superuser's eyes.

use std::{sync::Arc, time::Duration};

use main_server::{
    config::{DatabaseConfig, QueueConfig},
    database,
    queue::{Queue, QueueMetrics},
    seal::{Keyring, new_keyring},
};
use private_postgres::{Cluster, SUPERUSER};
use prometheus_client::registry::Registry;
use shared::{
    config::Span,
    identity::{Fingerprint, Name},
    shutdown::Shutdown,
    wire::{
        fail::FailedJob,
        lease::{Held, LeasedJob},
        submit::{SubmitOutcome, SubmittedMessage},
    },
};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How many inserts wait for a lock.
pub(crate) const INSERTS_THAT_WAIT: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '-- queue.insert%'";

/// The login that the server uses in these tests, a member of its role and of nothing else.
pub(crate) const SERVER_LOGIN: &str = "server_login";

/// A queue on a database of its own.
pub(crate) struct Stack {
    url: String,
    pub(crate) queue: Arc<Queue>,
    /// Sees and changes everything.
    pub(crate) onlooker: PgPool,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) shutdown: Shutdown,
    metrics: Registry,
}

/// Waits until a condition holds; the only sleep of these tests.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "it did not come true in time");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Migrations as the shipped binary applies them, and a login for the server.
pub(crate) fn prepare(url: &str) -> Result<(), private_postgres::Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(main_server::migrate(url))?;
    let login = format!("CREATE ROLE {SERVER_LOGIN} LOGIN IN ROLE portcullis_server");
    private_postgres::psql(url, &login)?;
    Ok(())
}

/// The same database, as the server's login.
pub(crate) fn as_server(url: &str) -> String {
    url.replacen(&format!("//{SUPERUSER}@"), &format!("//{SERVER_LOGIN}@"), 1)
}

pub(crate) fn database_config(url: &str) -> DatabaseConfig {
    DatabaseConfig {
        url: serde_json::from_value(url.into()).unwrap(),
        acquire_timeout: Span::seconds(2),
        start_timeout: Span::seconds(5),
        ..DatabaseConfig::default()
    }
}

pub(crate) fn throw_away_keyring() -> Arc<Keyring> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keyring.toml");
    new_keyring(&file).unwrap();
    Arc::new(Keyring::load(&file).unwrap())
}

impl Stack {
    /// On a fresh database of the shared cluster, with a reaper that looks often.
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut QueueConfig)) -> Self {
        let url = private_postgres::fresh_database(prepare).unwrap();
        let mut config = QueueConfig { reap_every: Span::millis(20), ..QueueConfig::default() };
        change(&mut config);
        Self::on(&url, config).await
    }

    /// On a database of a cluster that the test stops and starts.
    pub(crate) async fn on_cluster(cluster: &Cluster) -> Self {
        cluster.create_database("portcullis").unwrap();
        let url = cluster.url("portcullis", SUPERUSER);
        let of_thread = url.clone();
        std::thread::spawn(move || prepare(&of_thread).unwrap()).join().unwrap();
        Self::on(&url, QueueConfig::default()).await
    }

    /// On a database that is there already.
    pub(crate) async fn on(url: &str, config: QueueConfig) -> Self {
        Self::with_keyring(url, config, throw_away_keyring()).await
    }

    /// Another main server of the same database, with the same keys.
    pub(crate) async fn beside(&self, config: QueueConfig) -> Self {
        Self::with_keyring(&self.url, config, self.keyring.clone()).await
    }

    async fn with_keyring(url: &str, config: QueueConfig, keyring: Arc<Keyring>) -> Self {
        let pool = database::open(&database_config(&as_server(url))).await.unwrap().queue;
        let onlooker = PgPoolOptions::new().max_connections(4).connect_lazy(url).unwrap();
        let shutdown = Shutdown::new();
        let mut metrics = Registry::default();
        let counted = QueueMetrics::register(&mut metrics);
        let queue = Queue::open(pool, keyring.clone(), &config, PATIENCE, counted, &shutdown);
        Self { url: url.to_owned(), queue: Arc::new(queue), onlooker, keyring, shutdown, metrics }
    }

    /// Stores one message that must be new.
    pub(crate) async fn store(&self, message: &SubmittedMessage) {
        self.store_all(std::slice::from_ref(message)).await;
    }

    pub(crate) async fn store_all(&self, messages: &[SubmittedMessage]) {
        let results = self.queue.submit(name("proxy-1"), messages.to_vec(), 1).await.unwrap();
        assert!(results.iter().all(|result| result.outcome == SubmitOutcome::Queued), "{results:?}");
    }

    pub(crate) async fn outcomes(&self, messages: &[SubmittedMessage]) -> Vec<SubmitOutcome> {
        let results = self.queue.submit(name("proxy-1"), messages.to_vec(), 1).await.unwrap();
        results.into_iter().map(|result| result.outcome).collect()
    }

    pub(crate) async fn lease(&self, max: u32) -> Vec<LeasedJob> {
        self.queue.lease(&name("default"), max, None, &name("worker-1")).await.unwrap()
    }

    /// Runs statements as a superuser.
    pub(crate) async fn sql(&self, statements: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(statements.into())).execute(&self.onlooker).await.unwrap();
    }

    /// The one value of a query, as text; `NULL` if it is none.
    pub(crate) async fn value(&self, query: impl Into<String>) -> String {
        let query = format!("SELECT coalesce(({})::text, 'NULL')", query.into());
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&self.onlooker).await.unwrap()
    }

    /// A series of the queue's metrics, by its name and labels.
    pub(crate) fn counted(&self, series: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} in {text}")).parse().unwrap()
    }

    /// How many inserts wait for a lock. The queue's other tasks may wait for the same one, and do not count.
    pub(crate) async fn inserts_that_wait(&self) -> String {
        self.value(INSERTS_THAT_WAIT).await
    }

    pub(crate) async fn job_state(&self, message_id: Uuid) -> String {
        self.value(format!("SELECT state FROM jobs WHERE message_id = '{message_id}'")).await
    }

    /// Every job is in one group, whatever was split off.
    pub(crate) async fn every_job_is_in_one_group(&self) {
        let ids = "FROM job_groups, unnest(message_ids) AS job (id)";
        let [all, distinct] = ["count(*)", "count(DISTINCT id)"];
        // by way of their origin, too
        let [messages, jobs] = ["(SELECT count(*) FROM messages)", "(SELECT count(*) FROM jobs)"];
        let counts = self.value(format!("SELECT ({all}, {distinct}, {messages}, {jobs})::text {ids}")).await;
        let counts: Vec<_> = counts.trim_matches(['(', ')']).split(',').collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    }

    /// Nothing is left leased, and every task ends.
    pub(crate) async fn end(self) {
        assert_eq!(self.value("SELECT count(*) FROM jobs WHERE state = 'leased'").await, "0");
        drop(self.queue);
        self.shutdown.drained(PATIENCE).await;
        self.onlooker.close().await;
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn message(client: &str, body: &str) -> SubmittedMessage {
    SubmittedMessage {
        message_id: Uuid::now_v7(),
        client_id: name(client),
        cert_fingerprint: Fingerprint::of_der(client.as_bytes()),
        request_id: Uuid::now_v7(),
        traceparent: None,
        sender_number: "+1234567890".to_owned(),
        message_body: body.to_owned(),
        metadata: None,
        routing_key: None,
        idempotency_key: None,
    }
}

pub(crate) fn messages(count: usize) -> Vec<SubmittedMessage> {
    (0..count).map(|number| message("client_001", &number.to_string())).collect()
}

/// A job that was not delivered.
pub(crate) fn failed(held: Held, delay_seconds: Option<u32>, dead: bool) -> FailedJob {
    let Held { job_id, lease_token } = held;
    FailedJob {
        job_id,
        lease_token,
        error: "no route to sink".to_owned(),
        delay_seconds,
        dead,
        released: false,
    }
}

/// A job that was not worked on.
pub(crate) fn released(held: Held) -> FailedJob {
    FailedJob { released: true, ..failed(held, None, false) }
}

pub(crate) fn held(job: &LeasedJob) -> Held {
    Held { job_id: job.job_id, lease_token: job.lease_token }
}
