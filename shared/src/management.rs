//! The management listener of every process: `/livez`, `/readyz`, `/metrics` and `/openapi.json` over plain HTTP.
//!
//! It is meant for loopback or a private network and asks for no certificate, so that a probe or a
//! Prometheus needs none. Nothing secret is shown here.

mod last_sync;
mod readiness;

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use http::header;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing::error;

pub use last_sync::encode_last_sync;
pub use readiness::{CheckResult, Checked, Readiness};

use crate::{openapi, shutdown::Shutdown};

/// What is answered here, for programs.
const DOCUMENT: &str = include_str!("../../docs/openapi/management.json");

/// How long a request that was begun may still take when everything else has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Between two looks at the checks while somebody waits for them.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Readiness {
    /// Waits until all checks hold, but no longer than this, and not beyond the soft stop.
    pub async fn wait(&self, patience: Duration, shutdown: &Shutdown) {
        let ready = async {
            while !self.judge().0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(patience, ready) => {}
            () = shutdown.requested() => {}
        }
    }
}

struct Management {
    readiness: Arc<Readiness>,
    registry: Registry,
    shutdown: Shutdown,
}

/// Serves until everything else has ended. While stopping, `/readyz` answers 503, to new probes too.
async fn serve(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    registry: Registry,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let state = Arc::new(Management { readiness, registry, shutdown: shutdown.clone() });
    let stop = shutdown.clone();
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { openapi::serve(DOCUMENT) }))
        .with_state(state);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.over().await });
    tokio::select! {
        served = served.into_future() => served?,
        // Nobody who may connect here can keep the process from ending, by a request that never ends.
        () = async { shutdown.over().await; tokio::time::sleep(LAST_ANSWERS).await } => {}
    }
    Ok(())
}

/// Serves as long as `shutdown` has others to wait for.
pub fn spawn(listener: TcpListener, readiness: Arc<Readiness>, registry: Registry, shutdown: &Shutdown) {
    let serving = serve(listener, readiness, registry, shutdown.clone());
    shutdown.spawn_to_the_end("management", async move {
        if let Err(error) = serving.await {
            error!(%error, "the management listener ended");
        }
    });
}

async fn readyz(State(state): State<Arc<Management>>) -> impl IntoResponse {
    let (ready, mut body) = state.readiness.judge();
    let stopping = state.shutdown.is_requested();
    if stopping {
        body["status"] = "stopping".into();
    }
    let status = if ready && !stopping { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(body))
}

async fn metrics(State(state): State<Arc<Management>>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &state.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own task, which it waits for")]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        task::JoinHandle,
    };

    use super::*;

    async fn open() -> (SocketAddr, Shutdown, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let serving = serve(listener, Arc::default(), Registry::default(), shutdown.clone());
        let serving = shutdown.spawn_to_the_end("management", async move { serving.await.unwrap() });
        (address, shutdown, serving)
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_keep_the_process_from_ending() {
        let (address, shutdown, serving) = open().await;
        let mut endless = TcpStream::connect(address).await.unwrap();
        endless.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        // accepted in turn, so that once this one is answered the other is open
        let answer = get(address, "/livez").await;
        assert!(answer.ends_with("ok\n"), "{answer}");

        shutdown.drained(Duration::from_secs(8)).await;
        tokio::time::timeout(Duration::from_secs(8), serving).await.expect("it ends").unwrap();
        drop(endless);
    }

    #[tokio::test]
    async fn a_new_probe_hears_that_the_process_is_stopping_as_long_as_something_is_in_hand() {
        let (address, shutdown, serving) = open().await;
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        shutdown.spawn("in hand", async move { finished.await.unwrap() });
        shutdown.request();
        let stopping = shutdown.clone();
        let drained = tokio::spawn(async move { stopping.drained(Duration::from_mins(1)).await });
        for _ in 0..2 {
            let answer = get(address, "/readyz").await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
        }
        assert!(get(address, "/livez").await.ends_with("ok\n"));
        finish.send(()).unwrap();
        drained.await.unwrap();
        tokio::time::timeout(Duration::from_secs(8), serving).await.expect("it ends").unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    }
}
