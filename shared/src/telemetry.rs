//! Logs: one line per event on standard error, as text for people or JSON for machines.
//!
//! Never in a log: a message body, a sender number, a key. Text from outside (names in certificates,
//! header values) is logged with `?`, so that control characters are escaped and no line can be forged.

mod line;
mod lines;
mod shown;

use std::{
    io::{IsTerminal, stderr},
    sync::OnceLock,
};

use lines::ToStderr;
pub(crate) use lines::write_before_sleep;
pub use lines::{ACCESS, write_at_once};
use serde::Deserialize;
use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// The table `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level, or directives such as `info,proxy=debug`.
    pub level: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl LogConfig {
    /// Refuses directives that would be silently ignored.
    pub fn check(&self) -> Result<(), String> {
        EnvFilter::builder().parse(&self.level).map(drop).map_err(|error| {
            format!(
                "`{}` is no level (error, warn, info, debug, trace) and no list of directives: {error}",
                self.level
            )
        })
    }
}

/// How the level is changed; there is one log per process.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Logs at another level, or by other directives, from now on. Directives that were checked before.
pub fn set_level(level: &str) {
    if let Some(filter) = FILTER.get()
        && let Err(error) = filter.reload(EnvFilter::builder().parse_lossy(level))
    {
        tracing::error!(%error, "the level of the log cannot be changed");
    }
}

/// Starts logging for this process; a second call changes nothing.
pub fn init(config: &LogConfig) {
    let (filter, changed) = reload::Layer::new(EnvFilter::builder().parse_lossy(&config.level));
    let log = tracing_subscriber::registry().with(filter);
    // Whoever reads the log may go away. Telling standard error so would panic in the task that logs.
    let lines = fmt::layer().with_writer(ToStderr).log_internal_errors(false);
    let started = match config.format {
        // colours for whoever watches; whoever keeps the log gets lines that nobody can forge
        LogFormat::Text if stderr().is_terminal() => log.with(lines).try_init(),
        LogFormat::Text => log.with(lines.with_ansi(false).event_format(line::Line)).try_init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).map_writer(shown::ToShown);
            log.with(lines).try_init()
        }
    };
    if started.is_ok() {
        let _none_before = FILTER.set(changed);
    }
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
