//! Logs: one line per event on standard error, as text for people or JSON for machines.
//!
//! Never in a log: a message body, a sender number, a key. Text from outside (names in certificates,
//! header values) is logged with `?`, so that control characters are escaped and no line can be forged.

mod line;
mod shown;

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

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

/// Starts logging for this process; a second call changes nothing.
pub fn init(config: &LogConfig) {
    let filter = EnvFilter::builder().parse_lossy(&config.level);
    // Whoever reads the log may go away. Telling standard error so would panic in the task that logs.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let started = match config.format {
        // colours for whoever watches; whoever keeps the log gets lines that nobody can forge
        LogFormat::Text if std::io::stderr().is_terminal() => builder.try_init(),
        LogFormat::Text => builder.with_ansi(false).event_format(line::Line).try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_writer(|| shown::Shown(std::io::stderr())).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
