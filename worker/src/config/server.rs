//! `[server]`: the main servers and how patiently they are called.

use std::fmt;

use serde::Deserialize;
use shared::config::{ByteSize, Source, Span};
use url::Url;

/// The table `[server]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The worker doors of the main servers; the next one is tried when one fails.
    pub urls: Vec<ServerUrl>,
    /// For a TCP connection and its TLS handshake.
    pub connect_timeout: Span,
    /// For renew, complete and fail; for a lease, on top of its wait.
    pub request_timeout: Span,
    /// HTTP/2 pings, which find a connection that died without a word during a long poll.
    pub ping_interval: Span,
    /// The first pause after a failure; each further one doubles it.
    pub retry_min: Span,
    /// The longest pause.
    pub retry_max: Span,
    /// The largest answer read.
    pub max_answer: ByteSize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            connect_timeout: Span::seconds(5),
            request_timeout: Span::seconds(10),
            ping_interval: Span::seconds(10),
            retry_min: Span::millis(100),
            retry_max: Span::seconds(5),
            max_answer: ByteSize::kib(64 * 1024),
        }
    }
}

/// An address that an answer is expected from; shown as written, not taken apart.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerUrl(pub Url);

impl TryFrom<String> for ServerUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("`urls`: `{text}` is no URL: {error}"))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl ServerConfig {
    pub(super) fn check(&self, source: &mut Source) {
        if self.urls.is_empty() {
            source.fault("server.urls", "is required: a list such as [\"https://main.example:8003\"]");
        }
        for ServerUrl(url) in &self.urls {
            let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            let anonymous = url.username().is_empty() && url.password().is_none();
            if url.scheme() != "https" || !bare || !anonymous || url.host().is_none() {
                let mut shown = url.clone();
                let _ = shown.set_password(None).and_then(|()| shown.set_username(""));
                source.fault(
                    "server.urls",
                    format!(
                        "`{shown}` must be https://HOST:PORT and nothing else (credentials are in [tls])"
                    ),
                );
            }
        }
        for (key, span) in [
            ("server.connect_timeout", self.connect_timeout),
            ("server.request_timeout", self.request_timeout),
            ("server.ping_interval", self.ping_interval),
            ("server.retry_min", self.retry_min),
        ] {
            if span.0.is_zero() {
                source.fault(key, "must be longer than 0");
            }
        }
        if self.retry_max < self.retry_min {
            source.fault("server.retry_max", "must not be shorter than server.retry_min");
        }
        if self.max_answer < ByteSize::kib(64) {
            source.fault("server.max_answer", "must be at least 64KiB, or not even one message fits");
        }
    }
}
