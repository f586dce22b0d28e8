//! Admits a request or answers why not, with its body unread.
//!
//! A refused certificate gets its answer on every request it makes, later if it asks again and again, and its
//! connection ends with it. Who is
//! admitted for the last days is told so in a header on every answer: curl users would not look otherwise.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{Extension, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue};
use shared::serve::{Connection, SetAside};

use super::{Arrival, Principal, arrive::LastAnswer, instant};
use crate::routes::Edge;

/// From so many seconds before the end on.
const WARNED: i64 = 30 * 86_400;
const EXPIRES: HeaderName = HeaderName::from_static("portcullis-certificate-expires");

/// The principal of an admitted request.
#[derive(Debug, Clone)]
pub struct Admitted(pub Principal);

/// The layer.
pub(crate) async fn admit(
    State(edge): State<Arc<Edge>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(arrival): Extension<Arrival>,
    mut request: Request,
    next: Next,
) -> Response {
    let verdict = match edge.authorizer.authorize(&connection.peer) {
        // 503s are not their fault, and pass
        Err(refusal) if refusal.is_about_the_holder() => {
            // while this one waits, others may be let in
            if let Some(set_aside) = request.extensions().get::<SetAside>() {
                set_aside.give_back();
            }
            edge.refusals.slow(&edge.authorizer, &connection, refusal).await
        }
        verdict => verdict,
    };
    match verdict {
        Ok(principal) => {
            let expires = expires_soon(principal.ends_at);
            let admitted = Admitted(principal);
            request.extensions_mut().insert(admitted.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(admitted);
            if let Some(expires) = expires {
                response.headers_mut().insert(EXPIRES, expires);
            }
            response
        }
        Err(refusal) => {
            let problem = refusal.to_problem(&connection.peer.certificate.fingerprint);
            let mut response = problem.of_request(arrival.request_id).into_response();
            response.extensions_mut().insert(LastAnswer);
            response
        }
    }
}

/// RFC 3339, when the end is near.
fn expires_soon(ends_at: i64) -> Option<HeaderValue> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let left = ends_at.saturating_sub(i64::try_from(now).ok()?);
    (left <= WARNED).then(|| HeaderValue::try_from(instant(ends_at)).ok())?
}
