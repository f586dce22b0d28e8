//! A door: the accept loop, and the life of each connection from its socket to its end.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{Router, body::Body, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::UnixTime;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::{
    Connection, Connections, DoorMetrics, Limits,
    linger::linger,
    metrics::{DoorLabel, HandshakeFailure},
    stream::TimedStream,
    unread::{Unread, WatchedBody},
};
use crate::{
    shutdown::Shutdown,
    tls::{DoorTls, Peer, with_verified_peer},
};

/// How long to wait when the kernel has no descriptor left for another connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A listening socket with everything that its connections need.
#[derive(Debug)]
pub struct Door {
    name: &'static str,
    tls: Arc<ArcSwap<DoorTls>>,
    limits: Arc<Limits>,
    connections: Arc<Connections>,
    metrics: DoorMetrics,
    shutdown: Shutdown,
}

impl Door {
    /// A door that is still closed. `tls` is read anew for each handshake.
    #[must_use]
    pub fn new(
        name: &'static str,
        tls: Arc<ArcSwap<DoorTls>>,
        limits: Limits,
        connections: Arc<Connections>,
        metrics: DoorMetrics,
        shutdown: Shutdown,
    ) -> Self {
        Self { name, tls, limits: Arc::new(limits), connections, metrics, shutdown }
    }

    /// Accepts and serves until the soft stop; connections that are open then finish by themselves.
    pub async fn serve(self, listener: TcpListener, router: Router) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let shutdown = self.shutdown.clone();
        let door = Arc::new(self);
        loop {
            let accept = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                accepted = accept => accepted,
                () = shutdown.requested() => break,
            };
            match accepted {
                Ok((socket, remote)) => {
                    let (door_of_task, router) = (door.clone(), router.clone());
                    shutdown.spawn_for_peer(async move {
                        let _place = place;
                        door_of_task.serve_connection(socket, remote, router).await;
                    });
                }
                Err(error) => {
                    warn!(door = door.name, %error, "cannot accept");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    async fn serve_connection(&self, socket: TcpStream, remote: std::net::SocketAddr, router: Router) {
        let label = DoorLabel { door: self.name };
        self.metrics.accepted.get_or_create(&label).inc();
        if let Err(error) = socket.set_nodelay(true) {
            debug!(door = self.name, %remote, %error, "cannot set TCP_NODELAY");
        }
        let Some((stream, peer)) = self.shake_hands(socket, remote).await else { return };
        let connection = Arc::new(Connection::new(Arc::new(peer), remote, self.shutdown.child()));
        let _registered = self.connections.register(&connection);
        let gauge = self.metrics.connections.get_or_create_owned(&label);
        gauge.inc();
        self.serve_requests(stream, &connection, router).await;
        gauge.dec();
    }

    /// The TLS handshake under its deadline. A refused peer gets to read its alert.
    async fn shake_hands(
        &self,
        socket: TcpStream,
        remote: std::net::SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let tls = self.tls.load_full();
        let handshake = TlsAcceptor::from(tls.config.clone()).accept(socket).into_fallible();
        let outcome = timeout(self.limits.handshake.0, with_verified_peer(handshake)).await;
        let Ok((result, verified)) = outcome else {
            self.count_failure("timeout");
            return None;
        };
        let stream = match result {
            Ok(stream) => stream,
            Err((error, socket)) => {
                self.count_failure(reason(&error));
                debug!(door = self.name, %remote, %error, "handshake failed");
                linger(socket, self.limits.linger.0).await;
                return None;
            }
        };
        if let Some(peer) = verified {
            return Some((stream, peer));
        }
        // A resumed session: rustls did not call the verifier, and what it would say may have changed.
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        match tls.verifier.verify(chain, UnixTime::now()) {
            Ok(peer) => Some((stream, peer)),
            Err(error) => {
                self.count_failure("resumed_untrusted");
                debug!(door = self.name, %remote, %error, "a resumed session's chain no longer verifies");
                None
            }
        }
    }

    async fn serve_requests(
        &self,
        stream: TlsStream<TcpStream>,
        connection: &Arc<Connection>,
        router: Router,
    ) {
        // The version is what ALPN agreed on; sniffing it would wait without a deadline.
        let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let (stream, returned) =
            TimedStream::new(stream, connection.clone(), self.limits.clone(), multiplexed);
        let of_requests = connection.clone();
        let (shutdown, linger_for) = (self.shutdown.clone(), self.limits.linger.0);
        let service = service_fn(move |request: Request<Incoming>| {
            let (connection, router, shutdown) = (of_requests.clone(), router.clone(), shutdown.clone());
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
        let result = if multiplexed {
            let mut builder = conn::http2::Builder::new(Tracked(self.shutdown.clone()));
            let window = u32::try_from(self.limits.stream_window.0).unwrap_or(u32::MAX);
            let head = u32::try_from(self.limits.head_bytes.0).unwrap_or(u32::MAX);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(self.limits.streams)
                .initial_stream_window_size(window)
                .initial_connection_window_size(window.saturating_mul(4))
                .max_header_list_size(head);
            let mut served = pin!(builder.serve_connection(io, service));
            tokio::select! {
                result = served.as_mut() => result,
                () = connection.closed() => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            }
        } else {
            let mut builder = conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .max_headers(self.limits.headers)
                .max_buf_size(self.limits.head_bytes.0);
            let mut served = pin!(builder.serve_connection(io, service));
            tokio::select! {
                result = served.as_mut() => result,
                // hyper would hang up, without a word, on a first request that is on its way
                () = connection.closed_after_first_request() => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            }
        };
        if let Err(error) = result {
            debug!(door = self.name, remote = %connection.remote, %error, "connection ended");
        }
        // hyper's future was dropped with its block above, which returned the socket.
        if let Ok(stream) = returned.await {
            linger(stream.into_inner().0, self.limits.linger.0).await;
        }
    }

    fn count_failure(&self, reason: &'static str) {
        let label = HandshakeFailure { door: self.name, reason };
        self.metrics.handshake_failures.get_or_create(&label).inc();
    }
}

/// Passes one request on, with the connection it came on; answers what was left of its body, too.
async fn answer(
    connection: Arc<Connection>,
    router: Router,
    request: Request<Incoming>,
) -> (Response, Unread) {
    let _in_flight = connection.begin();
    let (mut head, body) = request.into_parts();
    let (body, unread) = WatchedBody::new(body);
    head.extensions.insert(connection.clone());
    let Ok(response) = router.oneshot(Request::from_parts(head, Body::new(body))).await;
    (response, unread)
}

/// A short word for the metric; the log has the whole error.
fn reason(error: &io::Error) -> &'static str {
    use rustls::Error;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(_)) => "certificate_refused",
        Some(Error::NoCertificatesPresented) => "no_certificate",
        Some(Error::AlertReceived(_)) => "alert_received",
        Some(_) => "tls",
        None => "connection_lost",
    }
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
