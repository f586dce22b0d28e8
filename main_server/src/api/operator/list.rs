//! `GET /api/v1/dead-letters`, page by page, and `GET /api/v1/dead-letters/{message_id}`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, RawQuery, State},
    response::IntoResponse as _,
};
use http::{HeaderValue, header};
use serde::Serialize;
use shared::wire::{Code, Problem};
use uuid::Uuid;

use super::{
    operator,
    request::{PAGE, Shown},
};
use crate::{
    admission::Caller,
    api::Api,
    queue::dead_letters::{Cursor, DeadLetter, Filters},
};

/// A page.
#[derive(Debug, Serialize)]
struct Page {
    dead_letters: Vec<DeadLetter>,
    /// Where the next one begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The dead letters that match, queue by queue, the oldest first.
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<axum::response::Response, Problem> {
    let shown = Shown::parse(query.as_deref())?;
    let (filters, limit, body) = (shown.filters(), shown.limit()?, shown.with_body());
    let by = operator(&caller)?;
    let dead_letters = api.queue.dead_letters(&filters, shown.after()?.as_ref(), limit, body).await?;
    let count = dead_letters.len();
    api.queue.audit_dead_letters("dead letters list", &by, &filters, body, Some(count as u64)).await?;
    let full = u32::try_from(count).is_ok_and(|count| count == limit);
    let next = dead_letters.last().filter(|_| full).and_then(Cursor::after).map(|cursor| cursor.to_string());
    Ok(not_stored(Page { dead_letters, next }))
}

/// One message, in every queue in which it is dead.
pub async fn one(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(message_id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<axum::response::Response, Problem> {
    let not_found = || Problem::new(Code::NotFound, "there is no dead letter of this id");
    let shown = Shown::parse(query.as_deref())?;
    shown.whole()?;
    let message_id: Uuid = message_id.parse().map_err(|_| not_found())?;
    let filters = Filters { message_id: Some(message_id), ..shown.filters() };
    let by = operator(&caller)?;
    let dead_letters = api.queue.dead_letters(&filters, None, PAGE, shown.with_body()).await?;
    if dead_letters.is_empty() {
        return Err(not_found());
    }
    let count = dead_letters.len() as u64;
    api.queue.audit_dead_letters("dead letters list", &by, &filters, shown.with_body(), Some(count)).await?;
    Ok(not_stored(Page { dead_letters, next: None }))
}

/// What a client wrote is for whoever asked, and for no cache.
fn not_stored(page: Page) -> axum::response::Response {
    let mut response = Json(page).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
