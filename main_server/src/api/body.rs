//! Reading a JSON body to its end, under a limit and a deadline.

use axum::{body::to_bytes, extract::Request};
use http::header;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use shared::{
    serve::BodyFault,
    wire::{Code, Problem},
};
use tokio::time::timeout;

use crate::config::RequestConfig;

/// The value of a body, and its length in bytes.
pub(super) async fn read_json<T: DeserializeOwned>(
    request: Request,
    limits: &RequestConfig,
) -> Result<(T, usize), Problem> {
    let json = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = json.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Code::UnsupportedMediaType, "the content type must be application/json"));
    }
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(Code::UnsupportedMediaType, "encoded bodies are not read here"));
    }
    let read = to_bytes(request.into_body(), limits.body_bytes.0);
    let bytes = match timeout(limits.body.0, read).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            if source.is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) {
                let text = format!("the body is larger than {:?}", limits.body_bytes);
                return Err(Problem::new(Code::PayloadTooLarge, text));
            }
            return Err(BodyFault::problem(&error));
        }
        Err(_) => {
            let text = format!("the body did not arrive within {:?}", limits.body);
            return Err(Problem::new(Code::RequestTimeout, text));
        }
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        // It names the field, and may quote its value: to whoever sent it, and to no log.
        let code = if error.is_data() { Code::InvalidField } else { Code::InvalidJson };
        Problem::new(code, error.to_string())
    })?;
    Ok((value, bytes.len()))
}
