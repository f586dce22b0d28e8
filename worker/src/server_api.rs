//! The worker door of the main servers: in, a verb's request; out, its answer, from the first server that has
//! one. Refused: servers that are not main servers by their certificate, and answers that do not fit.

mod connect;
mod turns;
mod reach;

mod lease;
mod renew;
mod complete;
mod fail;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{StatusCode, header};
use reqwest::Client;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shared::{
    config::ByteSize,
    wire::{
        Code,
        lease::{JobOutcome, JobResults},
    },
};
use tracing::debug;
use url::Url;
use uuid::Uuid;

pub(crate) use self::connect::{Clients, Patience};
use self::{reach::Reach, turns::Turns};

/// Why a call failed on the last server that was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// There is nobody to ask; the configuration refuses that.
    #[error("no main server is configured in server.urls")]
    NoServer,
    /// No connection, no answer, or not in time.
    #[error("{server} does not answer")]
    Unreachable {
        /// The server.
        server: Url,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// It answered that it will not or cannot.
    #[error("{server} refuses: {status} {}: {detail}", code.map_or("without a code", Code::as_str))]
    Refused {
        /// The server.
        server: Url,
        /// The HTTP status.
        status: StatusCode,
        /// The problem's code, when it is one that we know.
        code: Option<Code>,
        /// What the server says about it.
        detail: String,
    },
    /// It answered something else than the verb's answer.
    #[error("{server} answers what is not understood: {text}")]
    Malformed {
        /// The server.
        server: Url,
        /// What is wrong with it.
        text: String,
    },
}

/// The main servers, with the connections to them.
#[derive(Debug)]
pub(crate) struct ServerApi {
    servers: Turns,
    clients: ArcSwap<Clients>,
    request_timeout: Duration,
    max_answer: ByteSize,
    reach: Reach,
}

impl ServerApi {
    /// Knows the servers; connects when it is first used.
    pub(crate) fn new(servers: Vec<Url>, clients: Clients, patience: &Patience) -> Self {
        Self {
            servers: Turns::new(servers, patience.retry_min),
            clients: ArcSwap::from_pointee(clients),
            request_timeout: patience.request_timeout,
            max_answer: patience.max_answer,
            reach: Reach::default(),
        }
    }

    /// Takes other clients for the next requests; those that are on their way end with the ones they began with.
    pub(crate) fn change_to(&self, clients: Clients) {
        self.clients.store(Arc::new(clients));
    }

    /// When our certificate in force ends, in Unix seconds.
    pub(crate) fn certificate_ends(&self) -> i64 {
        self.clients.load().ends
    }

    /// When a main server last answered, or why none does. `silence` is how long a quiet worker may go
    /// without an answer.
    pub(crate) fn reachable(&self, silence: Duration) -> Result<String, String> {
        self.reach.judge(silence)
    }

    /// One of the short verbs; the answer holds a result for every job asked about. Returns the lost ones.
    async fn settle<Q: Serialize + Sync>(
        &self,
        verb: &str,
        request: &Q,
        jobs: impl Iterator<Item = Uuid>,
    ) -> Result<Vec<Uuid>, ApiError> {
        let (server, answer): (_, JobResults) =
            self.call(&self.clients.load().verbs.clone(), verb, request, self.request_timeout).await?;
        let mut outcomes: HashMap<Uuid, JobOutcome> =
            answer.results.into_iter().map(|result| (result.job_id, result.outcome)).collect();
        let mut lost = Vec::new();
        for job in jobs {
            match outcomes.remove(&job) {
                Some(JobOutcome::Ok) => {}
                Some(JobOutcome::LeaseLost) => lost.push(job),
                None => {
                    let text = format!("{verb}: no result for job {job}");
                    return Err(ApiError::Malformed { server: server.clone(), text });
                }
            }
        }
        Ok(lost)
    }

    /// Asks one server after the other until one answers.
    ///
    /// Every verb may be asked twice: a second lease takes other jobs, and the others match the lease token.
    async fn call<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        client: &Client,
        verb: &str,
        request: &Q,
        timeout: Duration,
    ) -> Result<(&Url, A), ApiError> {
        let mut last = None;
        for server in self.servers.order() {
            match self.ask(&server.url, client, verb, request, timeout).await {
                Ok(answer) => {
                    server.answered();
                    self.reach.answered(&server.url);
                    return Ok((&server.url, answer));
                }
                Err(error) => {
                    server.failed();
                    debug!(%error, verb, "not answered; asking the next main server, if there is one");
                    last = Some(error);
                }
            }
        }
        let error = last.unwrap_or(ApiError::NoServer);
        self.reach.failed(&error);
        Err(error)
    }

    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        server: &Url,
        client: &Client,
        verb: &str,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, ApiError> {
        let malformed = |text: String| ApiError::Malformed { server: server.clone(), text };
        let unreachable = |source| ApiError::Unreachable { server: server.clone(), source };
        let url =
            server.join(&format!("/api/v1/jobs/{verb}")).map_err(|error| malformed(error.to_string()))?;
        let body = serde_json::to_vec(request).map_err(|error| malformed(error.to_string()))?;
        let request = client.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
        let mut response = request.timeout(timeout).send().await.map_err(unreachable)?;
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if text.len() + chunk.len() > self.max_answer.0 {
                return Err(malformed(format!("more than server.max_answer ({:?})", self.max_answer)));
            }
            text.extend_from_slice(&chunk);
        }
        match response.status() {
            StatusCode::OK => {
                serde_json::from_slice(&text).map_err(|error| malformed(format!("{verb}: {error}")))
            }
            status => {
                let problem: Refusal = serde_json::from_slice(&text).unwrap_or_default();
                let (code, detail) = (problem.code.as_deref().and_then(known), problem.detail);
                Err(ApiError::Refused { server: server.clone(), status, code, detail })
            }
        }
    }
}

/// The members of a problem (RFC 9457) that are read here; of a newer server, perhaps with a code of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: Option<String>,
    detail: String,
}

fn known(code: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|known| known.as_str() == code)
}
