//! The configuration of the main server: a struct per table, each with its defaults.
//!
//! In: `main_server.toml` and the environment. Out: values checked together before anything is bound.
//! The commented reference is `deploy/config/main_server.toml`.

mod check;

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use shared::{
    config::{Bind, ByteSize, Configuration, DatabaseUrl, File, Source, Span},
    serve::Limits,
    telemetry::LogConfig,
    tls::{Identity, crl::CrlConfig},
    traces::TelemetryConfig,
};

/// The proxies' door, by name.
pub const PROXY_DOOR: &str = "proxy door";
/// The workers' door, by name.
pub const WORKER_DOOR: &str = "worker door";
/// The management listener, by name.
pub const MANAGEMENT: &str = "management";

/// Everything an operator can set.
#[derive(Debug)]
pub struct Config {
    /// The file that says all this.
    pub file: File,
    /// Where it listens.
    pub listen: ListenConfig,
    /// Who we are, and whose certificates we believe.
    pub tls: TlsConfig,
    /// The database and its connections.
    pub database: DatabaseConfig,
    /// The keys that seal what is stored.
    pub keyring: KeyringConfig,
    /// Group commit, leases and the reaper.
    pub queue: QueueConfig,
    /// The snapshot of the services table.
    pub registry: RegistryConfig,
    /// Further sources of revocation lists, and what holds when one is late or missing.
    pub crl: CrlConfig,
    /// Bounds of one request.
    pub requests: RequestConfig,
    /// Bounds of one connection.
    pub limits: Limits,
    /// Logging.
    pub log: LogConfig,
    /// `[telemetry]`: where spans go.
    pub telemetry: TelemetryConfig,
}

/// The table `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// For proxies.
    pub proxy_door: SocketAddr,
    /// For workers.
    pub worker_door: SocketAddr,
    /// Health and metrics, plain HTTP: loopback or a private network.
    pub management: SocketAddr,
    /// Lets a second main server of the same user open its doors at the same addresses.
    pub reuse_port: bool,
}

/// The table `[tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Our leaf and the CAs above it, PEM.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The CAs that issue certificates to services, PEM; never the root.
    pub services_ca: PathBuf,
    /// How often these files and the configuration file are looked at; SIGHUP hurries it.
    pub reload: Span,
    /// From so long before our own certificate's end on, the log and `/readyz` warn.
    pub expiry_warning: Span,
}

/// The table `[database]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Where it is, and as whom.
    pub url: DatabaseUrl,
    /// Accept TCP without TLS that checks the server.
    pub unsafe_plaintext_database: bool,
    /// At most so many connections.
    pub max_connections: u32,
    /// How long a request waits for one of them.
    pub acquire_timeout: Span,
    /// The longest a statement may take.
    pub statement_timeout: Span,
    /// An idle connection is closed after this.
    pub idle_timeout: Span,
    /// Any connection is closed after this.
    pub max_lifetime: Span,
    /// How long to wait for the database at start.
    pub start_timeout: Span,
}

/// The table `[keyring]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyringConfig {
    /// The key ring, readable by this process alone.
    pub file: PathBuf,
    /// How often it is looked at for a change.
    pub reload: Span,
    /// What earlier keys sealed is sealed anew: so many messages and errors a second, at most.
    pub reseal_per_second: u32,
}

/// The table `[queue]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Group commits at once.
    pub writers: usize,
    /// Messages in one group commit.
    pub commit_messages: usize,
    /// Bytes in one group commit.
    pub commit_bytes: ByteSize,
    /// Batches that may wait for a commit; further ones are refused.
    pub waiting_batches: usize,
    /// How long a batch may take from its arrival to its commit.
    pub submit_timeout: Span,
    /// Jobs in one lease.
    pub lease_jobs: u32,
    /// The poll behind the wake-ups of waiting workers.
    pub poll: Span,
    /// How often expired leases are looked for.
    pub reap_every: Span,
    /// Expired leases taken back by one statement.
    pub reap_batch: u32,
    /// How often what finished longer ago than its queue's retention is looked for.
    pub purge_every: Span,
}

/// The table `[registry]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// How often the services are read, whether or not the database hinted at a change.
    pub poll: Span,
    /// How old the snapshot may be before everybody is refused.
    pub max_staleness: Span,
}

/// The table `[requests]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestConfig {
    /// The longest body.
    pub body_bytes: ByteSize,
    /// From the end of a request's head to the end of its body.
    pub body: Span,
    /// Messages or jobs in one request.
    pub items: usize,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            proxy_door: loopback(8002),
            worker_door: loopback(8003),
            management: loopback(9002),
            reuse_port: false,
        }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        let file = PathBuf::new;
        Self {
            certificate: file(),
            key: file(),
            services_ca: file(),
            reload: Span::seconds(5),
            expiry_warning: Span::days(14),
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            unsafe_plaintext_database: false,
            max_connections: 16,
            acquire_timeout: Span::seconds(3),
            statement_timeout: Span::seconds(10),
            idle_timeout: Span::seconds(300),
            max_lifetime: Span::seconds(1800),
            start_timeout: Span::seconds(30),
        }
    }
}

impl Default for KeyringConfig {
    fn default() -> Self {
        Self { file: PathBuf::new(), reload: Span::seconds(1), reseal_per_second: 2000 }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            writers: 1,
            commit_messages: 2000,
            commit_bytes: ByteSize::kib(4096),
            waiting_batches: 128,
            submit_timeout: Span::seconds(15),
            lease_jobs: 500,
            poll: Span::seconds(1),
            reap_every: Span::seconds(1),
            reap_batch: 1000,
            purge_every: Span::seconds(10),
        }
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { poll: Span::millis(500), max_staleness: Span::seconds(60) }
    }
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self { body_bytes: ByteSize::kib(4096), body: Span::seconds(20), items: 2000 }
    }
}

impl TlsConfig {
    /// Our own certificate and key.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

impl Configuration for Config {
    fn read(source: &mut Source) -> Self {
        let mut config = Self {
            file: source.file(),
            listen: source.section("listen"),
            tls: source.section("tls"),
            database: source.section("database"),
            keyring: source.section("keyring"),
            queue: source.section("queue"),
            registry: source.section("registry"),
            crl: source.section("crl"),
            requests: source.section("requests"),
            limits: source.section("limits"),
            log: source.section("log"),
            telemetry: source.section("telemetry"),
        };
        source.require_file("tls.certificate", &mut config.tls.certificate);
        source.require_file("tls.key", &mut config.tls.key);
        source.require_file("tls.services_ca", &mut config.tls.services_ca);
        source.require_file("keyring.file", &mut config.keyring.file);
        config.crl.check(source);
        config.telemetry.check(source);
        config.check(source);
        config
    }

    fn file(&self) -> &File {
        &self.file
    }

    fn binds(&self) -> Vec<Bind> {
        let ListenConfig { proxy_door, worker_door, management, reuse_port } = self.listen;
        vec![
            Bind { door: "proxy_door", address: proxy_door, reuse_port },
            Bind { door: "worker_door", address: worker_door, reuse_port },
            // of two processes each is asked for itself
            Bind { door: MANAGEMENT, address: management, reuse_port: false },
        ]
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}
