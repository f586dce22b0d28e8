//! The proxy's configuration; `deploy/config/proxy.toml` is its commented reference.

mod flow;

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use shared::{
    config::{Bind, ByteSize, Configuration, DatabaseUrl, File, Source, Span},
    serve::Limits,
    telemetry::LogConfig,
    tls::{Handshake, Identity, crl::CrlConfig},
    traces::TelemetryConfig,
};
use url::Url;

pub use flow::{Admission, Rate, Refusals};

/// The client door, by name.
pub const CLIENTS: &str = "clients";
/// The management listener, by name.
pub const MANAGEMENT: &str = "management";

/// Everything that the proxy is told.
#[derive(Debug)]
pub struct Config {
    /// The file that says all this.
    pub file: File,
    /// Where it listens.
    pub listen: Listen,
    /// Its identity, and whom it believes.
    pub tls: Tls,
    /// Where its copy of the client table comes from.
    pub registry: Registry,
    /// Further sources of revocation lists, and what holds when one is late or missing.
    pub crl: CrlConfig,
    /// What a message may be.
    pub message: MessageLimits,
    /// What a batch of them may be.
    pub batch: BatchLimits,
    /// Which main servers it forwards to, and how.
    pub upstream: Upstream,
    /// What one client may ask.
    pub rate: Rate,
    /// What all clients together may send.
    pub admission: Admission,
    /// When a refused certificate has to wait for its answer.
    pub refusals: Refusals,
    /// The bounds of a connection.
    pub limits: Limits,
    /// Logs.
    pub log: LogConfig,
    /// `[telemetry]`: where spans go.
    pub telemetry: TelemetryConfig,
}

/// The table `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// The client door.
    pub clients: SocketAddr,
    /// Health and metrics: plain HTTP, for loopback or a private network.
    pub management: SocketAddr,
    /// Lets a second proxy of the same user open its client door at the same address.
    pub reuse_port: bool,
}

/// The table `[tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The proxy's certificate and its CAs, shown to clients and to the main servers.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The CAs whose clients are believed: a PEM file of any number.
    pub clients_ca: PathBuf,
    /// The CAs whose services are believed, for the second hop.
    pub services_ca: PathBuf,
    /// How a holder of a believed certificate is told that it is refused.
    pub handshake: Handshake,
    /// Believes client certificates without any extended key usage.
    pub unsafe_missing_eku: bool,
    /// The trust domain of our SPIFFE ids.
    pub trust_domain: String,
    /// How often certificate, key, CAs and the configuration file are looked at; SIGHUP hurries it.
    pub reload: Span,
    /// From so long before our own certificate's end on, the log and `/readyz` warn.
    pub expiry_warning: Span,
}

/// The table `[registry]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// The database that holds the client table.
    pub database_url: DatabaseUrl,
    /// Accepts a database connection over TCP without TLS.
    pub unsafe_plaintext_database: bool,
    /// How often changes are fetched; a NOTIFY only hurries it.
    pub poll: Span,
    /// How old the copy may become before everybody is refused.
    pub max_staleness: Span,
    /// How long one statement may take.
    pub statement_timeout: Span,
}

/// The table `[message]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageLimits {
    /// Bytes of a request's body.
    pub body: ByteSize,
    /// Characters (Unicode scalar values) of `message_body`.
    pub characters: usize,
    /// From the end of a request's head to the end of its body.
    pub body_timeout: Span,
}

/// The table `[batch]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchLimits {
    /// Messages of a batch; each of them is held to `[message]`.
    pub messages: usize,
    /// Bytes of a batch's body.
    pub body_bytes: ByteSize,
    /// Batches that are read or stored at once; further ones are refused.
    pub at_once: usize,
}

/// The table `[upstream]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// The main servers' proxy doors.
    pub servers: Vec<Url>,
    /// Batches in flight per main server before messages are collected.
    pub in_flight: usize,
    /// Messages of one batch.
    pub batch_messages: usize,
    /// Bytes of one batch.
    pub batch_bytes: ByteSize,
    /// Messages that wait for a batch; more are refused.
    pub waiting: usize,
    /// How long a message may wait for a batch; a twentieth of it while the queue has not been empty for so long.
    pub waiting_time: Span,
    /// How long one attempt may take.
    pub timeout: Span,
    /// How long a message is retried before its client is answered 503.
    pub retry_for: Span,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            clients: ([127, 0, 0, 1], 8001).into(),
            management: ([127, 0, 0, 1], 9001).into(),
            reuse_port: false,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            clients_ca: PathBuf::new(),
            services_ca: PathBuf::new(),
            handshake: Handshake::Explain,
            unsafe_missing_eku: false,
            trust_domain: "portcullis.internal".to_owned(),
            reload: Span::seconds(5),
            expiry_warning: Span::days(14),
        }
    }
}

impl Tls {
    /// The proxy's own certificate and key.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            database_url: DatabaseUrl::default(),
            unsafe_plaintext_database: false,
            poll: Span::millis(500),
            max_staleness: Span::seconds(60),
            statement_timeout: Span::seconds(10),
        }
    }
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { body: ByteSize::kib(64), characters: 1000, body_timeout: Span::seconds(20) }
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { messages: 1000, body_bytes: ByteSize::kib(4096), at_once: 64 }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            in_flight: 4,
            batch_messages: 500,
            batch_bytes: ByteSize::kib(1024),
            waiting: 10_000,
            waiting_time: Span::seconds(2),
            timeout: Span::seconds(5),
            retry_for: Span::seconds(5),
        }
    }
}

impl Configuration for Config {
    fn read(source: &mut Source) -> Self {
        let mut config = Self {
            file: source.file(),
            listen: source.section("listen"),
            tls: source.section("tls"),
            registry: source.section("registry"),
            crl: source.section("crl"),
            message: source.section("message"),
            batch: source.section("batch"),
            upstream: source.section("upstream"),
            rate: source.section("rate"),
            admission: source.section("admission"),
            refusals: source.section("refusals"),
            limits: source.section("limits"),
            log: source.section("log"),
            telemetry: source.section("telemetry"),
        };
        let tls = &mut config.tls;
        source.require_file("tls.certificate", &mut tls.certificate);
        source.require_file("tls.key", &mut tls.key);
        source.require_file("tls.clients_ca", &mut tls.clients_ca);
        source.require_file("tls.services_ca", &mut tls.services_ca);
        if tls.reload.0.is_zero() {
            source.fault("tls.reload", "must be longer than 0s");
        }
        config.registry.check(source);
        config.crl.check(source);
        config.telemetry.check(source);
        config.message.check(source);
        config.batch.check(source);
        config.upstream.check(source);
        config.rate.check(source);
        config.admission.check(source);
        config.refusals.check(source);
        config.limits.check(source);
        config
    }

    fn file(&self) -> &File {
        &self.file
    }

    fn binds(&self) -> Vec<Bind> {
        let Listen { clients, management, reuse_port } = self.listen;
        vec![
            Bind { door: CLIENTS, address: clients, reuse_port },
            // of two processes each is asked for itself
            Bind { door: MANAGEMENT, address: management, reuse_port: false },
        ]
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

impl Registry {
    fn check(&self, source: &mut Source) {
        if let Err(text) = self.database_url.check(self.unsafe_plaintext_database) {
            source.fault("registry.database_url", text);
        }
        if self.poll.0.is_zero() || self.poll >= self.max_staleness {
            source.fault("registry.poll", "must be longer than 0s and shorter than registry.max_staleness");
        }
    }
}

impl MessageLimits {
    fn check(&self, source: &mut Source) {
        if !(1024..=16 * 1024 * 1024).contains(&self.body.0) {
            source.fault("message.body", "must lie between 1KiB and 16MiB");
        }
        if self.characters == 0 {
            source.fault("message.characters", "must be at least 1");
        }
        if self.body_timeout.0.is_zero() {
            source.fault("message.body_timeout", "must be longer than 0s");
        }
    }
}

impl BatchLimits {
    fn check(&self, source: &mut Source) {
        if !(1..=100_000).contains(&self.messages) {
            source.fault("batch.messages", "must lie between 1 and 100000");
        }
        if !(1024..=64 * 1024 * 1024).contains(&self.body_bytes.0) {
            source.fault("batch.body_bytes", "must lie between 1KiB and 64MiB");
        }
        if self.at_once == 0 {
            source.fault("batch.at_once", "must be at least 1");
        }
    }
}

impl Upstream {
    fn check(&self, source: &mut Source) {
        if self.servers.is_empty() {
            source.fault("upstream.servers", "is required, such as [\"https://main.internal:8002\"]");
        }
        for server in &self.servers {
            if server.scheme() != "https" || server.host_str().is_none() || server.path() != "/" {
                source
                    .fault("upstream.servers", format!("{server}: must be https://host:port without a path"));
            }
        }
        if self.in_flight == 0 || self.batch_messages == 0 || self.waiting == 0 {
            source.fault("upstream", "in_flight, batch_messages and waiting must be at least 1");
        }
        if self.waiting_time < Span::millis(100) {
            source.fault("upstream.waiting_time", "must be at least 100ms");
        }
        if self.timeout.0.is_zero() || self.retry_for.0.is_zero() {
            source.fault("upstream", "timeout and retry_for must be longer than 0s");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_configuration_is_valid_and_shows_the_defaults() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/proxy.toml");
        let config: Config = shared::config::load(&file).unwrap();
        let (upstream, message, registry) =
            (Upstream::default(), MessageLimits::default(), Registry::default());
        let shown = |value: &dyn std::fmt::Debug| format!("{value:?}");
        let servers = config.upstream.servers.clone();
        assert_eq!(shown(&config.upstream), shown(&Upstream { servers, ..upstream }));
        assert_eq!(shown(&config.message), shown(&message));
        assert_eq!(shown(&config.batch), shown(&BatchLimits::default()));
        assert_eq!(shown(&config.crl), shown(&CrlConfig::default()));
        assert_eq!(shown(&config.rate), shown(&Rate::default()));
        assert_eq!(shown(&config.admission), shown(&Admission::default()));
        assert_eq!(shown(&config.refusals), shown(&Refusals::default()));
        assert_eq!(shown(&config.limits), shown(&Limits::default()));
        assert_eq!(config.registry.poll, registry.poll);
        assert_eq!(config.registry.max_staleness, registry.max_staleness);
    }

    #[test]
    fn an_empty_configuration_names_everything_that_is_missing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = shared::config::load::<Config>(file.path()).unwrap_err().to_string();
        for key in ["tls.certificate", "tls.clients_ca", "registry.database_url", "upstream.servers"] {
            assert!(text.contains(key), "{key} in {text}");
        }
    }
}
