//! Admits a request or answers why not, with its body unread.
//!
//! A refused certificate gets its answer on every request it makes, later if it asks again and again, and its
//! connection ends with it. Who is
//! admitted for the last days is told so in a header on every answer: curl users would not look otherwise.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use shared::serve::{Connection, SetAside};
use uuid::Uuid;

use super::{Principal, Refusal, arrive::LastAnswer, instant};
use crate::routes::Edge;

/// From so many seconds before the end on.
const WARNED: i64 = 30 * 86_400;
const EXPIRES: HeaderName = HeaderName::from_static("portcullis-certificate-expires");

/// The principal of an admitted request.
#[derive(Debug, Clone)]
pub struct Admitted(pub Arc<Principal>);

/// Who asks, or why it is refused.
pub(super) async fn admit(
    edge: &Edge,
    connection: &Connection,
    set_aside: Option<&SetAside>,
) -> Result<Arc<Principal>, Refusal> {
    match edge.authorizer.authorize(&connection.peer) {
        // 503s are not their fault, and pass
        Err(refusal) if refusal.is_about_the_holder() => {
            // while this one waits, others may be let in
            if let Some(set_aside) = set_aside {
                set_aside.give_back();
            }
            edge.refusals.slow(&edge.authorizer, connection, refusal).await.map(Arc::new)
        }
        verdict => verdict.map(Arc::new),
    }
}

/// The answer to whoever is refused; the connection ends with it.
pub(super) fn refused(refusal: Refusal, connection: &Connection, request_id: Uuid) -> Response {
    let problem = refusal.to_problem(&connection.peer.certificate.fingerprint);
    let mut response = problem.of_request(request_id).into_response();
    response.extensions_mut().insert(LastAnswer);
    response
}

/// Tells a client of the last days of its certificate.
pub(super) fn tell_the_end(principal: &Principal, headers: &mut HeaderMap) {
    if let Some(expires) = expires_soon(principal.ends_at) {
        headers.insert(EXPIRES, expires);
    }
}

/// RFC 3339, when the end is near.
fn expires_soon(ends_at: i64) -> Option<HeaderValue> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let left = ends_at.saturating_sub(i64::try_from(now).ok()?);
    (left <= WARNED).then(|| HeaderValue::try_from(instant(ends_at)).ok())?
}
