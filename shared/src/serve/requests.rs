//! HTTP on one connection, from its first byte to its polite end; hyper is the only parser.
//!
//! In: a stream whose peer is believed. Out: requests, answered by the router. A connection that is idle is put aside,
//! without hyper, until its peer sends something (`park`). hyper's own bounds stand above ours
//! where it can answer only with an empty body, so that ours, which say why, are reached first.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::{self, pin},
    sync::Arc,
};

use axum::Router;
use http::Request;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::{
    Connection, Limits,
    answer::answer,
    linger::linger,
    metrics::Bound,
    park::park,
    stream::{Returned, TimedStream},
};
use crate::shutdown::Shutdown;

/// How far hyper's bounds on heads stand above ours.
const ABOVE: usize = 2;
/// So many header lines hyper reads unless it is told otherwise, and told, it makes two lists on the heap for each head. Where
/// our bound is lower, that is above it.
const HEADERS: usize = 100;
/// HTTP/2: requests of one connection that were broken, or refused for being too many at once; then GOAWAY.
const BROKEN_STREAMS: usize = 100;
/// HTTP/2: requests taken back before they were begun, at once; then GOAWAY (CVE-2023-44487).
const EARLY_RESETS: usize = 20;
/// HTTP/2: an answer's bytes that wait for their peer, per request.
const ANSWER_BUFFER: usize = 64 * 1024;

/// Serves until the peer, a bound, or [`Connection::close`] ends it.
pub(super) async fn serve_requests(
    mut stream: TlsStream<TcpStream>,
    connection: &Arc<Connection>,
    router: Router,
    shutdown: &Shutdown,
) {
    // The version is what ALPN agreed on; sniffing it would wait without a deadline.
    let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let mut unread = Bytes::new();
    loop {
        let timed = TimedStream::new(stream, unread, connection.clone(), multiplexed);
        // on the heap, so that a connection that is put aside does not keep it
        let serving = Box::pin(serve_stream(timed, connection, router.clone(), shutdown, multiplexed));
        let Some(Returned { stream: returned, parked, begun }) = serving.await else { return };
        if !parked {
            return linger(returned.into_inner().0, connection.limits().linger.0).await;
        }
        let resumed = if begun.is_empty() { park(returned, connection).await } else { Some(returned) };
        let Some(resumed) = resumed else { return };
        (stream, unread) = (resumed, begun);
    }
}

/// Serves until it ends, or is to be put aside for being idle; answers the stream, unless the peer closed it.
async fn serve_stream(
    (stream, returned): (TimedStream, oneshot::Receiver<Returned>),
    connection: &Arc<Connection>,
    router: Router,
    shutdown: &Shutdown,
    multiplexed: bool,
) -> Option<Returned> {
    let (of_requests, of_bodies) = (connection.clone(), shutdown.clone());
    let limits = connection.limits();
    let linger_for = limits.linger.0;
    let service = service_fn(move |request: Request<Incoming>| {
        let (connection, router, shutdown) = (of_requests.clone(), router.clone(), of_bodies.clone());
        async move {
            let (response, unread) = answer(connection, router, request).await;
            // In HTTP/1.1 the connection ends instead, and lingers as a whole.
            if multiplexed && let Some(reading) = unread.read_on(linger_for) {
                shutdown.spawn_for_peer(reading);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(stream);
    let (result, read) = if multiplexed {
        let mut served = pin!(http2_builder(limits, shutdown).serve_connection(io, service));
        let result = tokio::select! {
            result = served.as_mut() => result,
            () = connection.closed() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        (result, Bytes::new())
    } else {
        let mut served = http1_builder(limits).serve_connection(io, service);
        let result = tokio::select! {
            result = &mut served => result,
            // hyper would hang up, without a word, on a first request that is on its way
            () = connection.closed_after_first_request() => {
                pin::Pin::new(&mut served).graceful_shutdown();
                (&mut served).await
            }
        };
        // copied, so that hyper's buffer is not kept
        (result, Bytes::copy_from_slice(&served.into_parts().read_buf))
    };
    // hyper's connection was dropped with its block above, which returned the socket.
    let returned = returned.await.ok().map(|returned| Returned { begun: read, ..returned });
    if let Err(error) = result
        && returned.as_ref().is_none_or(|returned| !returned.parked)
    {
        if given_up(&error) {
            connection.reached(Bound::Http2);
        }
        debug!(remote = %connection.remote, %error, cause = ?error.source(), "connection ended");
    }
    returned
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes.0.saturating_mul(ABOVE));
    if limits.headers >= HEADERS {
        builder.max_headers(limits.headers.saturating_mul(ABOVE));
    }
    builder
}

fn http2_builder(limits: &Limits, shutdown: &Shutdown) -> http2::Builder<Tracked> {
    let window = u32::try_from(limits.stream_window.0).unwrap_or(u32::MAX);
    // each field counts for 32 bytes more than it has (RFC 9113 §6.5.2)
    let head = limits.head_bytes.0.saturating_mul(ABOVE).saturating_add(limits.headers.saturating_mul(32));
    let mut builder = http2::Builder::new(Tracked(shutdown.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.saturating_mul(4))
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(BROKEN_STREAMS)
        .max_pending_accept_reset_streams(EARLY_RESETS)
        .max_send_buf_size(ANSWER_BUFFER);
    builder
}

/// Whether the HTTP/2 library ended the connection, for what the peer did.
fn given_up(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_library() && cause.is_go_away())
}

/// Runs HTTP/2 streams as tasks that the hard stop reaches.
#[derive(Clone)]
struct Tracked(Shutdown);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_for_peer(async move {
            future.await;
        });
    }
}
