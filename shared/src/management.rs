//! The management listener of every process: `/livez`, `/readyz`, `/metrics` and `/openapi.json` over plain HTTP.
//!
//! It is meant for loopback or a private network and asks for no certificate, so that a probe or a
//! Prometheus needs none. Nothing secret is shown here.

mod readiness;

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use http::header;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

pub use readiness::{CheckResult, Checked, Readiness};

use crate::{openapi, shutdown::Shutdown};

/// What is answered here, for programs.
const DOCUMENT: &str = include_str!("../../docs/openapi/management.json");

/// How long after the soft stop a request that was begun may still take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

struct Management {
    readiness: Readiness,
    registry: Registry,
    shutdown: Shutdown,
}

/// Serves until the soft stop. While stopping, `/readyz` answers 503.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
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
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.requested().await });
    tokio::select! {
        served = served.into_future() => served?,
        // Nobody who may connect here can keep the process from ending, by a request that never ends.
        () = async { shutdown.requested().await; tokio::time::sleep(LAST_ANSWERS).await } => {}
    }
    Ok(())
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
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_keep_the_process_from_ending() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let serving = serve(listener, Readiness::new(), Registry::default(), shutdown.clone());
        let serving = shutdown.spawn("management", async move { serving.await.unwrap() });

        let mut endless = TcpStream::connect(address).await.unwrap();
        endless.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        // accepted in turn, so that once this one is answered the other is open
        let mut whole = TcpStream::connect(address).await.unwrap();
        whole.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        whole.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");

        shutdown.request();
        tokio::time::timeout(Duration::from_secs(8), serving).await.expect("it ends").unwrap();
        drop(endless);
    }
}
