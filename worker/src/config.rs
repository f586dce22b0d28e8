//! The worker's configuration: in, `worker.toml` and the environment; out, one struct per concern, checked
//! whole. `deploy/config/worker.toml` is the reference; what it says is what a missing option means.

mod server;
mod delivery;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;
use shared::{
    config::{Bind, Configuration, File, Source, Span},
    telemetry::LogConfig,
    tls::Identity,
    traces::TelemetryConfig,
};

pub use self::{
    delivery::DeliveryConfig,
    server::{ServerConfig, ServerUrl},
};
use crate::sink::{JsonlOptions, SinkOptions};

/// Everything the worker is told.
#[derive(Debug)]
pub struct Config {
    /// The file that says all this.
    pub file: File,
    /// `[server]`: where the jobs are.
    pub server: ServerConfig,
    /// `[tls]`: who we are, and whom we believe.
    pub tls: TlsConfig,
    /// `[delivery]`: how many jobs, for how long.
    pub delivery: DeliveryConfig,
    /// `[sink]`: where the messages go.
    pub sink: SinkConfig,
    /// `[listen]`: what is bound.
    pub listen: ListenConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[telemetry]`: where spans go.
    pub telemetry: TelemetryConfig,
}

/// The table `[tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM: this worker's certificate and the CA that issued it.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the CAs under which main servers are believed.
    pub ca: PathBuf,
    /// How often these files and the configuration file are looked at; SIGHUP hurries it.
    pub reload: Span,
    /// From so long before our own certificate's end on, the log and `/readyz` warn.
    pub expiry_warning: Span,
}

impl Default for TlsConfig {
    fn default() -> Self {
        let file = PathBuf::new;
        let (reload, expiry_warning) = (Span::seconds(5), Span::days(14));
        Self { certificate: file(), key: file(), ca: file(), reload, expiry_warning }
    }
}

impl TlsConfig {
    /// Our certificate and its key.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

/// The table `[sink]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkConfig {
    /// Which sink.
    pub kind: SinkKind,
    /// The file that each message is appended to as one line of JSON.
    pub output: PathBuf,
    /// How many of the latest message ids are kept in memory.
    pub recent_ids: usize,
}

/// The sinks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A file of JSON lines.
    Jsonl,
    /// JSON lines on standard output.
    Stdout,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self { kind: SinkKind::Jsonl, output: "received_messages.jsonl".into(), recent_ids: 100_000 }
    }
}

impl SinkConfig {
    /// What the sink is opened with.
    #[must_use]
    pub fn options(&self) -> SinkOptions {
        match self.kind {
            SinkKind::Jsonl => {
                let (output, recent_ids) = (self.output.clone(), self.recent_ids);
                SinkOptions::Jsonl(JsonlOptions { output, recent_ids })
            }
            SinkKind::Stdout => SinkOptions::Stdout,
        }
    }
}

/// The table `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// `/livez`, `/readyz` and `/metrics`, without TLS: keep it on loopback.
    pub management: SocketAddr,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self { management: (Ipv4Addr::LOCALHOST, 9003).into() }
    }
}

impl Configuration for Config {
    fn read(source: &mut Source) -> Self {
        let mut config = Self {
            file: source.file(),
            server: source.section("server"),
            tls: source.section("tls"),
            delivery: source.section("delivery"),
            sink: source.section("sink"),
            listen: source.section("listen"),
            log: source.section("log"),
            telemetry: source.section("telemetry"),
        };
        config.server.check(source);
        source.require_file("tls.certificate", &mut config.tls.certificate);
        source.require_file("tls.key", &mut config.tls.key);
        source.require_file("tls.ca", &mut config.tls.ca);
        if config.tls.reload.0.is_zero() {
            source.fault("tls.reload", "must be longer than 0s");
        }
        config.delivery.check(source);
        config.telemetry.check(source);
        source.require_file("sink.output", &mut config.sink.output);
        if !(1..=10_000_000).contains(&config.sink.recent_ids) {
            source.fault("sink.recent_ids", "must be 1 to 10000000; each takes about 50 bytes of memory");
        }
        config
    }

    fn file(&self) -> &File {
        &self.file
    }

    fn binds(&self) -> Vec<Bind> {
        vec![Bind { door: "management", address: self.listen.management, reuse_port: false }]
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shared::config::load;

    use super::*;

    const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/worker.toml");

    fn faults_of(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("worker.toml");
        std::fs::write(&file, text).unwrap();
        load::<Config>(&file).unwrap_err().to_string()
    }

    #[test]
    fn the_reference_file_is_valid_and_shows_every_option_with_its_default() {
        let written = load::<Config>(Path::new(REFERENCE)).unwrap();
        // What has no default is set; the rest of the file must say what leaving it out means.
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("worker.toml");
        let required = "[server]\nurls = ['https://localhost:8003']\n\
                        [tls]\ncertificate = 'c'\nkey = 'k'\nca = 'a'\n";
        std::fs::write(&file, required).unwrap();
        let mut defaults = load::<Config>(&file).unwrap();
        defaults.file = written.file.clone();
        defaults.tls = written.tls.clone();
        defaults.sink.output = written.sink.output.clone();
        assert_eq!(format!("{written:#?}"), format!("{defaults:#?}"));

        let text = std::fs::read_to_string(REFERENCE).unwrap();
        let debug = format!("{defaults:#?}");
        for option in debug.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name) {
            assert!(text.contains(option), "{option} is not in the reference file");
        }
        assert!(written.sink.output.ends_with(SinkConfig::default().output));
    }

    #[test]
    fn an_empty_configuration_names_everything_that_is_required() {
        let text = faults_of("");
        for key in ["server.urls", "tls.certificate", "tls.key", "tls.ca"] {
            assert!(text.contains(key), "{key} in {text}");
        }
    }

    #[test]
    fn addresses_that_leave_tls_and_times_that_cannot_work_are_refused_together() {
        let text = faults_of(
            "[server]\nurls = ['http://main:8003', 'https://main:8003/api', 'https://u:p@main']\n\
             [delivery]\nwait = '31s'\nlease = '500ms'\nbatch = 600\nmax_jobs = 10\n",
        );
        for part in ["http://main:8003", "main:8003/api", "main/", "wait", "lease", "batch", "max_jobs"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("u:p"), "a password in {text}");
    }
}
