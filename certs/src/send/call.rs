//! One request, sent until it is answered in a way that another sending would not change.
//!
//! Sent again: no answer, 408, 409 `idempotency_in_flight`, 429, 5xx; after `Retry-After` where that is longer than our
//! own pause. Never again: every other 4xx, and a TLS handshake that one side refused: `doctor` says why.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, redirect};
use serde_json::Value;
use tokio::time::sleep;
use url::Url;

use super::{backoff::pause, origin, progress::Progress, settled::Settled, word};
use crate::client_tls::{ClientFiles, ClientTlsError, tls_error};

/// Longer than a proxy takes for any request.
const ATTEMPT: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(10);
/// Of a batch's 1000 results.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Why sending ended before everything was settled.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The files do not make a client.
    #[error(transparent)]
    Files(#[from] ClientTlsError),
    /// No HTTP client could be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
    /// One of the two sides does not believe the other.
    #[error(
        "{url}: no connection: {cause}. sending again would not help; portcullis-certs doctor {url} with the same files says why"
    )]
    Handshake {
        /// The proxy.
        url: String,
        /// What TLS says.
        cause: rustls::Error,
    },
    /// Refused for good, and everything after it would be too.
    #[error("{url}: {status} {code}: {detail}")]
    Refused {
        /// The proxy.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// The problem's code.
        code: String,
        /// The proxy's words.
        detail: String,
    },
    /// `--max-time` is over.
    #[error(
        "{url}: gave up, nothing was acknowledged for {patience:?}; at last: {last}. portcullis-certs doctor {url} may know more"
    )]
    TimeUp {
        /// The proxy.
        url: String,
        /// `--max-time`.
        patience: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// Not an answer of a proxy.
    #[error("{url}: answers what is not understood ({what}): is it a proxy of Portcullis, of this version?")]
    Malformed {
        /// The proxy.
        url: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A proxy, and how long it is given.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    url: Url,
    patience: Duration,
    waiting: Mutex<Waiting>,
    progress: Progress,
}

/// Since when nothing was acknowledged, and how often in a row it failed.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    failed: u32,
    last: String,
}

impl Waiting {
    fn new() -> Self {
        Self { since: Instant::now(), failed: 0, last: String::new() }
    }
}

/// A final answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) replayed: bool,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Value,
}

impl Caller {
    /// A client with these files for this proxy, which gives up when nothing was acknowledged for `patience`.
    pub fn new(
        url: Url,
        files: &ClientFiles,
        patience: Duration,
        progress: Progress,
    ) -> Result<Self, SendError> {
        let mut tls = files.config()?;
        // One request at a time needs no HTTP/2, whose library keeps of an alert only its text.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place of this crate that builds an HTTP client"
        )]
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .user_agent(concat!("portcullis-certs/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .build()
            .map_err(SendError::Client)?;
        Ok(Self { client, url, patience, waiting: Mutex::new(Waiting::new()), progress })
    }

    pub(super) fn url(&self) -> String {
        origin(&self.url)
    }

    /// Something was stored or refused for good: patience begins anew.
    pub(super) fn acknowledged(&self) {
        *self.waiting() = Waiting::new();
    }

    pub(super) fn malformed(&self, reply: &Reply, index: usize) -> SendError {
        let what = format!("{} without a result for message {index}", reply.status);
        SendError::Malformed { url: self.url(), what }
    }

    /// Posts until there is a final answer.
    pub(super) async fn post(
        &self,
        path: &str,
        content_type: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<Reply, SendError> {
        loop {
            match self.attempt(path, content_type, key, body.clone()).await {
                Ok(reply) if later(&reply) => {
                    let code = word(&reply.body, "code").unwrap_or_default();
                    self.wait(format!("{} {code}", reply.status.as_u16()), reply.retry_after).await?;
                }
                Ok(reply) => return Ok(reply),
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::Broken(text)) => self.wait(text, None).await?,
            }
        }
    }

    async fn attempt(
        &self,
        path: &str,
        content_type: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<Reply, Failed> {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        let mut request = self.client.post(url).header(header::CONTENT_TYPE, content_type);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", format!("\"{key}\""));
        }
        let timeout = ATTEMPT.min(self.left().max(Duration::from_secs(1)));
        let broken = |error: reqwest::Error| self.broken(&error);
        let mut response = request.body(body).timeout(timeout).send().await.map_err(broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if text.len() + chunk.len() > MAX_ANSWER {
                let what = format!("more than {MAX_ANSWER} bytes");
                return Err(Failed::ForGood(SendError::Malformed { url: self.url(), what }));
            }
            text.extend_from_slice(&chunk);
        }
        let replayed = headers.get("idempotency-replayed").is_some_and(|value| value == "true");
        let body = serde_json::from_slice(&text).unwrap_or_default();
        Ok(Reply { status, replayed, retry_after: retry_after(&headers), body })
    }

    fn broken(&self, error: &reqwest::Error) -> Failed {
        match tls_error(error) {
            Some(cause @ (rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))) => {
                Failed::ForGood(SendError::Handshake { url: self.url(), cause: cause.clone() })
            }
            // cut off by our own limit: what was met before says more
            _ if error.is_timeout() && !self.waiting().last.is_empty() => {
                Failed::Broken(self.waiting().last.clone())
            }
            _ => Failed::Broken(innermost(error)),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> Duration {
        self.patience.saturating_sub(self.waiting().since.elapsed())
    }

    /// Waits before the next attempt, or gives up when that would be too late.
    pub(super) async fn wait(&self, last: String, after: Option<Duration>) -> Result<(), SendError> {
        let wanted = {
            let mut waiting = self.waiting();
            waiting.failed = waiting.failed.saturating_add(1);
            waiting.last.clone_from(&last);
            pause(waiting.failed).max(after.unwrap_or_default())
        };
        if wanted > self.left() {
            return Err(SendError::TimeUp { url: self.url(), patience: self.patience, last });
        }
        self.progress.waits(&last, wanted);
        sleep(wanted).await;
        Ok(())
    }
}

/// Why an attempt brought no answer.
enum Failed {
    ForGood(SendError),
    Broken(String),
}

impl Reply {
    /// An answer that ends everything, such as a 403: what comes after it would fare no better.
    pub(super) fn refusal(&self, url: String) -> SendError {
        SendError::Refused {
            url,
            status: self.status,
            code: word(&self.body, "code").unwrap_or_else(|| "without a code".to_owned()),
            detail: word(&self.body, "detail").unwrap_or_else(|| "no detail".to_owned()),
        }
    }
}

fn later(reply: &Reply) -> bool {
    let code = word(&reply.body, "code");
    // a batch of which nothing could be stored says so for each
    reply.body["results"].is_null() && Settled::later(reply.status.as_u16(), code.as_deref())
}

/// Seconds (RFC 9110 §10.2.3); a date there is not used by proxies of ours.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// reqwest's own words name the URL and say little; the cause is at the end of the chain.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.is_timeout() { format!("no answer in time ({innermost})") } else { innermost.to_string() }
}
