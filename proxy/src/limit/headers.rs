//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11): what the limits are, and what is
//! left of them.
//!
//! In: a client's limits and what is left. Out: two structured fields (RFC 9651). A policy's window is the time in
//! which an empty bucket fills; the reset is when there is more than now, and stands only where something was used.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    bucket::Limit,
    rate::{Left, Rates},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The largest integer of a structured field (RFC 9651 §3.3.1).
const LARGEST: f64 = 999_999_999_999_999.0;

/// Puts both fields on an answer.
pub(super) fn tell(headers: &mut HeaderMap, rates: Rates, left: Left) {
    let of_requests =
        rates.requests.map(|limit| (policy("requests", limit, ""), rest("requests", limit, left.requests)));
    let unit = ";qu=\"content-bytes\"";
    let of_bytes = rates.bytes.map(|limit| (policy("bytes", limit, unit), rest("bytes", limit, left.bytes)));
    let (policies, rests): (Vec<_>, Vec<_>) = of_requests.into_iter().chain(of_bytes).unzip();
    for (name, items) in [(POLICY, policies), (LIMIT, rests)] {
        if let Ok(value) = HeaderValue::try_from(items.join(", ")) {
            headers.insert(name, value);
        }
    }
}

fn policy(name: &str, limit: Limit, unit: &str) -> String {
    let window = limit.time_for(limit.burst).as_secs_f64().ceil().max(1.0);
    format!("\"{name}\";q={}{unit};w={window}", limit.burst.min(LARGEST))
}

fn rest(name: &str, limit: Limit, left: f64) -> String {
    let whole = left.floor().clamp(0.0, LARGEST);
    if left >= limit.burst {
        return format!("\"{name}\";r={whole}");
    }
    let more = limit.time_for(whole + 1.0 - left).as_secs_f64().ceil().max(1.0);
    format!("\"{name}\";r={whole};t={more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_what_is_left_are_written_as_the_draft_has_it() {
        let limit = |per_second, burst| Some(Limit { per_second, burst });
        for (requests, bytes, left, policy, rest) in [
            (limit(10.0, 25.0), None, (24.5, 0.0), "\"requests\";q=25;w=3", "\"requests\";r=24;t=1"),
            (limit(10.0, 25.0), None, (25.0, 0.0), "\"requests\";q=25;w=3", "\"requests\";r=25"),
            (limit(0.1, 1.0), None, (0.0, 0.0), "\"requests\";q=1;w=10", "\"requests\";r=0;t=10"),
            (limit(0.5, 1.0), None, (-9.0, 0.0), "\"requests\";q=1;w=2", "\"requests\";r=0;t=20"),
            (
                None,
                limit(1e6, 65_536.0),
                (0.0, 100.5),
                "\"bytes\";q=65536;qu=\"content-bytes\";w=1",
                "\"bytes\";r=100;t=1",
            ),
            (
                limit(1.0, 2.0),
                limit(1.0, 1e18),
                (1.0, 1e18),
                "\"requests\";q=2;w=2, \"bytes\";q=999999999999999;qu=\"content-bytes\";w=1073741824",
                "\"requests\";r=1;t=1, \"bytes\";r=999999999999999",
            ),
        ] {
            let mut headers = HeaderMap::new();
            tell(&mut headers, Rates { requests, bytes }, Left { requests: left.0, bytes: left.1 });
            assert_eq!(headers["ratelimit-policy"], policy);
            assert_eq!(headers["ratelimit"], rest);
        }
    }
}
