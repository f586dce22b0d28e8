//! The body of a request that is refused by its head.
//!
//! In: a body that nobody will look at. Out: whether it is gone, so that the connection can be used again: a new
//! connection would cost more than the few bytes. Not read: what is large, what is slow, and what the sender holds
//! back until it is asked for.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
};
use http::header;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

const MOST: u64 = 64 * 1024;
const LONGEST: Duration = Duration::from_secs(2);

/// Reads a small body and throws it away; answers whether that was all of it.
pub(super) async fn drain(request: Request) -> bool {
    let (head, body) = request.into_parts();
    if body.is_end_stream() {
        return true;
    }
    if head.headers.contains_key(header::EXPECT) || body.size_hint().lower() > MOST {
        return false;
    }
    timeout(LONGEST, read(body)).await.unwrap_or(false)
}

async fn read(mut body: Body) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > MOST {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn a_small_body_is_read_and_a_large_or_withheld_one_is_not() {
        let of = |body: Body, expect: bool| {
            let mut request = Request::new(body);
            if expect {
                request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
            }
            drain(request)
        };
        assert!(of(Body::empty(), true).await);
        assert!(of(Body::from("{}"), false).await);
        assert!(!of(Body::from("{}"), true).await);
        assert!(!of(Body::from(vec![0; 65 * 1024]), false).await);
        // announced by nobody
        let pieces = |count| (0..count).map(|_| Ok::<_, std::io::Error>(vec![0; 1024]));
        assert!(of(Body::from_stream(futures_util::stream::iter(pieces(64))), false).await);
        assert!(!of(Body::from_stream(futures_util::stream::iter(pieces(65))), false).await);
    }
}
