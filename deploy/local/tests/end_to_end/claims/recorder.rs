//! A main server that takes every batch, answers that it is queued, and keeps what came in.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test whose fixtures cannot be made cannot go on"
)]

use std::{
    fs,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, Uri},
    routing::post,
};
use certs::{Host, ServiceRequest};
use local::Stack;
use prometheus_client::registry::Registry;
use shared::{
    identity::Role,
    serve::{Connections, Door, DoorMetrics, Limits},
    shutdown::Shutdown,
    tls::{BundleKind, ClientVerifier, Handshake, Identity, TrustBundle, door_tls},
    wire::submit::{SubmitOutcome, SubmitResponse, SubmitResult, SubmittedMessage},
};
use time::OffsetDateTime;
use tokio::{net::TcpListener, runtime::Runtime};

/// The recorder; it ends with this.
pub(super) struct Recorder {
    /// `https://localhost:PORT`.
    pub(super) url: String,
    batches: Batches,
    shutdown: Shutdown,
    _runtime: Runtime,
}

/// What a proxy sent.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Path and headers.
    pub(super) head: String,
    pub(super) body: String,
}

type Batches = Arc<Mutex<Vec<Batch>>>;

impl Recorder {
    /// Listens, with a certificate of the stack's authority.
    pub(super) fn start(stack: &Stack) -> Self {
        let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
        let name = "recorder".parse().unwrap();
        let issued = stack.authority().issue_service(Role::MainServer, &name, &request).unwrap();
        let (certificate, key) = (stack.folder().join("recorder.crt"), stack.folder().join("recorder.key"));
        fs::write(&certificate, issued.certificate_pem()).unwrap();
        fs::write(&key, issued.key().pem()).unwrap();
        let bundle =
            TrustBundle::read(&stack.pki().join("services-ca.crt"), BundleKind::IssuingOnly).unwrap();
        let verifier = ClientVerifier::new(Arc::new(bundle), Handshake::Strict);
        let tls = door_tls(&Identity { certificate, key }, verifier).unwrap();

        let shutdown = Shutdown::new();
        let batches = Batches::default();
        let routes = Router::new().route("/internal/v1/messages", post(record)).with_state(batches.clone());
        let door = Door::new(
            "recorder",
            Arc::new(ArcSwap::from_pointee(tls)),
            Limits::default(),
            Arc::new(Connections::new()),
            DoorMetrics::register(&mut Registry::default()),
            shutdown.clone(),
        );
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let entered = runtime.enter();
        shutdown.spawn("recorder", door.serve(listener, routes));
        drop(entered);
        Self { url, batches, shutdown, _runtime: runtime }
    }

    /// The batches so far; a proxy's probes are empty and not among them.
    pub(super) fn batches(&self) -> Vec<Batch> {
        self.batches.lock().expect("no test panics with it").clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

async fn record(
    State(batches): State<Batches>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Json<SubmitResponse> {
    let messages: Vec<SubmittedMessage> = serde_json::from_str(&body).unwrap();
    if !messages.is_empty() {
        batches
            .lock()
            .expect("no test panics with it")
            .push(Batch { head: format!("{uri} {headers:?}"), body });
    }
    let queued = |message: SubmittedMessage| SubmitResult {
        message_id: message.message_id,
        original: None,
        outcome: SubmitOutcome::Queued,
        code: None,
        queued_at: Some(OffsetDateTime::now_utc()),
    };
    Json(SubmitResponse { results: messages.into_iter().map(queued).collect() })
}
