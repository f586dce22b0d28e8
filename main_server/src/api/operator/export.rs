//! `GET /api/v1/dead-letters/export`: all that match, a line of JSON each (NDJSON).
//!
//! A page is in memory at a time. The operator's admission is judged again before each. If something goes wrong on the
//! way, the answer breaks off and does not end: what came is not the whole.

use std::sync::Arc;

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use futures_util::stream::try_unfold;
use http::{HeaderValue, header};
use shared::wire::Problem;
use tracing::warn;

use super::{
    operator,
    request::{PAGE, Shown},
};
use crate::{
    admission::Caller,
    api::Api,
    queue::dead_letters::{Cursor, Filters, Operator},
};

/// An export on its way.
struct Export {
    api: Arc<Api>,
    caller: Caller,
    by: Operator,
    filters: Filters,
    body: bool,
    after: Option<Cursor>,
    letters: u64,
    ended: bool,
}

/// It broke off; why is in our log.
#[derive(Debug, thiserror::Error)]
#[error("the export broke off: {0}")]
struct BrokenOff(String);

/// Answers line by line.
pub async fn export(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let shown = Shown::parse(query.as_deref())?;
    shown.whole()?;
    let by = operator(&caller)?;
    let (filters, body) = (shown.filters(), shown.with_body());
    // on record before the first line, in case there is no last one
    api.queue.audit_dead_letters("dead letters export", &by, &filters, body, None).await?;
    let export = Export { api, caller, by, filters, body, after: None, letters: 0, ended: false };
    let lines = try_unfold(export, |mut export| async move {
        match export.next().await {
            Ok(Some(lines)) => Ok(Some((lines, export))),
            Ok(None) => Ok(None),
            Err(problem) => {
                warn!(code = %problem.code, detail = problem.detail, by = export.by.name, "an export broke off");
                Err(BrokenOff(problem.detail))
            }
        }
    });
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Export {
    /// The next page's lines; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.ended {
            return Ok(None);
        }
        self.caller.authorize()?;
        let queue = &self.api.queue;
        let letters = queue.dead_letters(&self.filters, self.after.as_ref(), PAGE, self.body).await?;
        let mut lines = Vec::new();
        for letter in &letters {
            serde_json::to_writer(&mut lines, letter)
                .map_err(|error| Problem::new(shared::wire::Code::InternalError, error.to_string()))?;
            lines.push(b'\n');
        }
        self.letters += letters.len() as u64;
        self.after = letters.last().and_then(Cursor::after);
        self.ended = letters.len() < PAGE as usize || self.after.is_none();
        if self.ended {
            let (what, count) = ("dead letters exported", Some(self.letters));
            queue.audit_dead_letters(what, &self.by, &self.filters, self.body, count).await?;
        }
        Ok(Some(lines.into()))
    }
}
