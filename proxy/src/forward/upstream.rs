//! The main servers: one HTTP/2 connection each, over mTLS, their role checked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::bail;
use reqwest::{Client, Response, StatusCode, header};
use shared::{
    reload::Files,
    shutdown::Shutdown,
    tls::crl::RevocationLists,
    wire::{
        report::Report,
        status::{MessageStatus, StatusRequest},
        submit::SubmitResponse,
    },
};
use tokio::{task::spawn_blocking, time::Instant};
use tracing::{info, warn};
use url::Url;

use super::{
    MainServers,
    client::{Credentials, ServerClient},
};
use crate::config::{self, Config};

/// Between probes of a server that does not answer, and the time it has for one.
const PROBE: Duration = Duration::from_millis(500);
/// How often the main servers that are connected are judged anew.
const SWEEP: Duration = Duration::from_millis(250);

/// All main servers.
#[derive(Debug)]
pub(crate) struct Upstreams {
    servers: Vec<Upstream>,
    next: AtomicUsize,
    timeout: Duration,
    /// When our certificate ends that main servers are shown, in Unix seconds.
    ends: AtomicI64,
}

#[derive(Debug)]
struct Upstream {
    client: ServerClient,
    url: Url,
    reports: Url,
    status: Url,
    /// The last batch or probe was answered.
    answers: AtomicBool,
}

/// Why a batch has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Not reached, cut off, or too slow.
    #[error("main server: {}", with_sources(.0))]
    Http(#[from] reqwest::Error),
    /// Answered with something else than results.
    #[error("main server answered {0}")]
    Status(StatusCode),
    /// It cannot take this batch, now or later: too large for it, or not of the shape that it knows.
    #[error("main server refused the batch with {0}")]
    Refused(StatusCode),
    /// The answer, or the batch, is not of the agreed shape.
    #[error("main server's answer cannot be read: {0}")]
    Unreadable(String),
    /// The results are for other messages.
    #[error("main server answered for other messages")]
    Mismatch,
}

impl Unanswered {
    pub(super) fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// reqwest's own text stops at "error sending request"; the cause is below it.
fn with_sources(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Builds the clients; nothing is connected before the first batch.
pub(crate) fn upstreams(config: &Config, main_servers: &Arc<MainServers>) -> anyhow::Result<Arc<Upstreams>> {
    let credentials = Credentials::read(&config.tls)?;
    let mut servers = Vec::new();
    for server in &config.upstream.servers {
        let client = ServerClient::new(&credentials, main_servers.clone())?;
        servers.push(Upstream {
            client,
            url: server.join("/internal/v1/messages")?,
            reports: server.join("/internal/v1/reports")?,
            status: server.join("/internal/v1/messages/status")?,
            answers: AtomicBool::new(false),
        });
    }
    let timeout = config.upstream.timeout.0;
    Ok(Arc::new(Upstreams { servers, next: 0.into(), timeout, ends: credentials.ends().into() }))
}

impl Upstreams {
    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    /// How many answered when they were last asked.
    pub(crate) fn answering(&self) -> usize {
        self.servers.iter().filter(|server| server.answers.load(Relaxed)).count()
    }

    /// When our certificate in force ends, in Unix seconds.
    pub(crate) fn ends(&self) -> i64 {
        self.ends.load(Relaxed)
    }

    /// What the credentials are read from.
    pub(crate) fn files(tls: &config::Tls) -> Files {
        Files::now([&tls.certificate, &tls.key, &tls.services_ca])
    }

    /// Reads our certificate, its key and the main servers' CAs anew, and takes them for the next connections. Refused: files
    /// that cannot be used, and a certificate that main servers do not admit: whoever renews it may register it later.
    pub(crate) async fn read_anew(
        self: Arc<Self>,
        tls: config::Tls,
        lists: Arc<RevocationLists>,
    ) -> anyhow::Result<()> {
        let read =
            spawn_blocking(move || tls.identity().check_dates().and_then(|()| Credentials::read(&tls)));
        let credentials = read.await??;
        let mut changed = Vec::new();
        for server in &self.servers {
            let connected = server.client.with(&credentials)?;
            server.check_admits(&connected.client, &credentials, self.timeout).await?;
            changed.push((server, connected));
        }
        lists.believe_beside(&credentials.bundle).await;
        for (server, connected) in changed {
            server.client.change_to(connected);
        }
        self.ends.store(credentials.ends(), Relaxed);
        Ok(())
    }

    /// Gives up connections to main servers that are refused by now, until the soft stop.
    pub(crate) async fn sweep(self: Arc<Self>, shutdown: Shutdown) {
        while !shutdown.is_requested() {
            for server in &self.servers {
                match server.client.give_up_if_refused() {
                    Ok(false) => {}
                    Ok(true) => {
                        server.answers.store(false, Relaxed);
                        warn!(server = %server.url, "main server is revoked or not active: connection given up");
                    }
                    Err(error) => warn!(server = %server.url, "{error:#}"),
                }
            }
            tokio::select! { () = tokio::time::sleep(SWEEP) => {} () = shutdown.requested() => {} }
        }
    }

    /// Asks the servers that do not answer, with an empty batch, until the soft stop: no client's message
    /// has to find out that one is back.
    pub(crate) async fn probe(self: Arc<Self>, shutdown: Shutdown) {
        while !shutdown.is_requested() {
            for server in self.servers.iter().filter(|server| !server.answers.load(Relaxed)) {
                server.note(&server.post(b"[]".to_vec(), PROBE).await);
            }
            tokio::select! { () = tokio::time::sleep(PROBE) => {} () = shutdown.requested() => {} }
        }
    }

    /// Posts a batch to the next server in turn; one that failed last is skipped while another answers.
    pub(super) async fn post(&self, body: Vec<u8>, deadline: Instant) -> Result<SubmitResponse, Unanswered> {
        let server = self.in_turn();
        let limit = self.timeout.min(deadline.saturating_duration_since(Instant::now()));
        let result = server.post(body, limit).await;
        server.note(&result);
        result
    }

    /// Posts a report to a main server. It says nothing about whether that server answers batches.
    pub(crate) async fn report(&self, report: &Report, limit: Duration) -> Result<(), Unanswered> {
        let body = serde_json::to_vec(report).map_err(Unanswered::unreadable)?;
        let server = self.in_turn();
        server.send(&server.reports, body, limit.min(self.timeout)).await?;
        Ok(())
    }

    /// Asks the servers, each once at most, what became of a message; `None` if it is not there for this client.
    pub(super) async fn status(
        &self,
        asked: &StatusRequest,
        deadline: Instant,
    ) -> Result<Option<MessageStatus>, Unanswered> {
        let body = serde_json::to_vec(asked).map_err(Unanswered::unreadable)?;
        let mut attempts = 0;
        loop {
            let server = self.in_turn();
            let limit = self.timeout.min(deadline.saturating_duration_since(Instant::now()));
            attempts += 1;
            match server.ask_status(body.clone(), limit).await {
                Err(_) if attempts < self.servers.len() => {}
                result => return result,
            }
        }
    }

    fn in_turn(&self) -> &Upstream {
        let turn = self.next.fetch_add(1, Relaxed);
        let in_turn =
            || (0..self.servers.len()).map(|step| &self.servers[(turn + step) % self.servers.len()]);
        let server = in_turn().find(|server| server.answers.load(Relaxed));
        server.unwrap_or(&self.servers[turn % self.servers.len()])
    }
}

impl Upstream {
    async fn post(&self, body: Vec<u8>, limit: Duration) -> Result<SubmitResponse, Unanswered> {
        let response = self.send(&self.url, body, limit).await?;
        let bytes = response.bytes().await?;
        serde_json::from_slice(&bytes).map_err(Unanswered::unreadable)
    }

    async fn ask_status(&self, body: Vec<u8>, limit: Duration) -> Result<Option<MessageStatus>, Unanswered> {
        let response = match self.send(&self.status, body, limit).await {
            Err(Unanswered::Status(StatusCode::NOT_FOUND)) => return Ok(None),
            other => other?,
        };
        let bytes = response.bytes().await?;
        serde_json::from_slice(&bytes).map(Some).map_err(Unanswered::unreadable)
    }

    async fn send(&self, url: &Url, body: Vec<u8>, limit: Duration) -> Result<Response, Unanswered> {
        self.send_by(&self.client.client(), url, body, limit).await
    }

    /// Refuses credentials by which a main server that answers would answer no more. One that answers nobody says nothing of
    /// them; and one whose CA is believed no more is to be left, whatever it answers.
    async fn check_admits(
        &self,
        client: &Client,
        credentials: &Credentials,
        limit: Duration,
    ) -> anyhow::Result<()> {
        if !self.answers.load(Relaxed) || !self.client.met_is_believed_by(&credentials.bundle) {
            return Ok(());
        }
        match self.send_by(client, &self.url, b"[]".to_vec(), limit).await {
            Ok(_) => Ok(()),
            Err(error) => bail!(
                "the main server {} does not admit our new certificate (is it registered in `services`?): {error}",
                self.url.origin().ascii_serialization()
            ),
        }
    }

    async fn send_by(
        &self,
        client: &Client,
        url: &Url,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Response, Unanswered> {
        let request = client.post(url.clone()).timeout(limit).body(body);
        let response = request.header(header::CONTENT_TYPE, "application/json").send().await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status @ (StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE) => {
                Err(Unanswered::Refused(status))
            }
            status => Err(Unanswered::Status(status)),
        }
    }

    /// Logs once when a server stops answering, and once when it answers again.
    fn note(&self, result: &Result<SubmitResponse, Unanswered>) {
        let answers = matches!(result, Ok(_) | Err(Unanswered::Refused(_)));
        let was = self.answers.swap(answers, Relaxed);
        match result {
            Ok(_) if !was => info!(server = %self.url, "main server answers"),
            Err(error) if was && !answers => warn!(server = %self.url, %error, "main server does not answer"),
            _ => {}
        }
    }
}
