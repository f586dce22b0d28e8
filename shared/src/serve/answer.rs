//! One request, from its head to the end of its answer: it has an id, memory, and counts as being answered until the
//! last byte of its answer was handed to the connection.
//!
//! In: what hyper parsed. Out: what the router answers, and what it left of the body. Refused, by [`keep_bounds`] or [`check_bounds`]:
//! heads beyond the bounds or with two readings, a connection too many, a request that there is no memory for.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::Extension,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, Request, Version, header};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{
    Connection,
    activity::InFlight,
    body::{Unread, WatchedBody},
    head::{Breach, check_head, size_of},
    memory::Held,
    metrics::Bound,
    progress::Stages,
};
use crate::wire::Code;

/// What a request is known by, from its arrival on. Made here: a caller's own could be forged or repeated.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(pub Uuid);

/// The memory that is set aside for a request's body, so that a request that was let in comes to its end.
#[derive(Debug, Clone)]
pub struct SetAside {
    held: Weak<Held>,
    /// Whether there was any for the request.
    enough: bool,
}

impl SetAside {
    /// Gives it back: the request is not let in, at least not yet, and its body not read.
    pub fn give_back(&self) {
        if let Some(held) = self.held.upgrade() {
            held.give_back_ahead();
        }
    }

    /// Notes that the request's message was stored: after so long a wait, and in so long.
    pub fn stored(&self, waited: Duration, took: Duration) {
        if let Some(held) = self.held.upgrade() {
            held.progress.stored(waited, took);
        }
    }

    /// When the request's head was there; from then on each stage is counted.
    #[must_use]
    pub fn began(&self) -> Option<Instant> {
        self.held.upgrade().map(|held| held.progress.began())
    }

    /// How far the request came.
    #[must_use]
    pub fn stages(&self) -> Stages {
        self.held.upgrade().map(|held| held.progress.stages()).unwrap_or_default()
    }
}

/// Passes one request on, with the connection it came on; answers what was left of its body, too.
pub(super) async fn answer(
    connection: Arc<Connection>,
    router: Router,
    request: Request<Incoming>,
) -> (Response, Unread) {
    let in_flight = connection.begin();
    let (mut parts, body) = request.into_parts();
    let held = connection.hold(size_of(&parts), body.size_hint().exact());
    let enough = held.is_some();
    parts.extensions.insert(RequestId(Uuid::now_v7()));
    parts.extensions.insert(connection.clone());
    let held = Arc::new(held.unwrap_or_else(|| connection.hold_nothing()));
    parts.extensions.insert(SetAside { held: Arc::downgrade(&held), enough });
    let (asked_on, version) = (connection.clone(), parts.version);
    let (body, unread) = WatchedBody::new(body, connection, held.clone());
    let Ok(response) = router.oneshot(Request::from_parts(parts, Body::new(body))).await;
    let mut response = response.map(|body| Body::new(Answering::new(body, in_flight, held, &asked_on)));
    // hyper says so by itself only of a connection that began to close before it was asked
    if version <= Version::HTTP_11 && asked_on.is_closing() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    (response, unread)
}

/// The layer that every router of a door has: refuses a request before anything is made of it. It stands behind those
/// that refuse certificates, whose holders are to hear of that whatever else is wrong.
pub async fn keep_bounds(
    Extension(connection): Extension<Arc<Connection>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    match check_bounds(&connection, id, request) {
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    }
}

/// The same for a router that has a layer of its own: the request again, or the answer that refuses it.
#[expect(clippy::result_large_err, reason = "both are what the caller passes on by value anyway")]
pub fn check_bounds(
    connection: &Connection,
    id: Uuid,
    request: axum::extract::Request,
) -> Result<axum::extract::Request, Response> {
    let (head, body) = request.into_parts();
    let Err(Breach { bound, problem }) = check(connection, &head) else {
        return Ok(Request::from_parts(head, body));
    };
    connection.reached(bound);
    let mut response = problem.of_request(id).into_response();
    // Over HTTP/1.1 the sender is read no further, lest the rest be taken for another request.
    if head.version <= Version::HTTP_11 || bound == Bound::ConnectionsPerClient {
        if head.version <= Version::HTTP_11 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        connection.close();
    }
    Err(response)
}

fn check(connection: &Connection, head: &http::request::Parts) -> Result<(), Breach> {
    let limits = connection.limits();
    if connection.is_one_too_many() {
        let most = limits.connections_per_client;
        let text = format!("{most} connections with this certificate are open; use those, or close some");
        return Err(Breach::of(Bound::ConnectionsPerClient, Code::TooManyConnections, text));
    }
    check_head(head, limits)?;
    if head.extensions.get::<SetAside>().is_some_and(|memory| memory.enough) {
        return Ok(());
    }
    let text = "too many requests are being answered, of all or of you; try again later";
    Err(Breach::of(Bound::Memory, Code::Overloaded, text))
}

/// An answer's body, with what its request holds until it was handed over. While the peer leaves a piece of it, over
/// HTTP/2 by opening no window, nothing asks for the next one: the connection is told until when that may last.
struct Answering {
    body: Body,
    in_flight: InFlight,
    _held: Arc<Held>,
    write: Duration,
    least_rate: usize,
    /// Bytes of the pieces that were asked for; the last ones may still be on their way.
    passed_on: usize,
}

impl Answering {
    fn new(body: Body, in_flight: InFlight, held: Arc<Held>, connection: &Connection) -> Self {
        let limits = connection.limits();
        let (write, least_rate) = (limits.write.0, limits.least_rate.0);
        let mut answering = Self { body, in_flight, _held: held, write, least_rate, passed_on: 0 };
        answering.offer(0);
        answering
    }

    /// A piece of so many bytes is offered to the peer, which may have those before it to take yet.
    fn offer(&mut self, bytes: usize) {
        let before = u64::try_from(self.passed_on / self.least_rate.max(1)).unwrap_or(u64::MAX);
        let patience = self.write.saturating_add(Duration::from_secs(before));
        let now = Instant::now();
        // further away than the clock goes: never
        if let Some(until) = now.checked_add(patience) {
            self.in_flight.offered(until);
        }
        self.passed_on = self.passed_on.saturating_add(bytes);
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.offer(frame.data_ref().map_or(0, Bytes::len)),
            // whoever makes the answer is not done
            _ => self.in_flight.taken(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
