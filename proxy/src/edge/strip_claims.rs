//! Takes away what a request claims about who sent it.
//!
//! The principal comes from the certificate on the connection and from nothing else. Nothing of these
//! headers would be forwarded anyway, for the second hop carries no client header; they are removed so
//! that no handler, now or later, can be tempted to read one.

use http::{HeaderMap, HeaderName};

/// Prefixes and names by which proxies tell each other who a client is (RFC 9440; Envoy, nginx, ALB, …).
const CLAIMS: [&str; 7] = [
    "x-client-",
    "client-cert",
    "x-forwarded-client-cert",
    "x-ssl-",
    "ssl-client-",
    "x-amzn-mtls-",
    "x-spiffe-",
];

/// See above.
pub(super) fn strip_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn is_claim(name: &HeaderName) -> bool {
    CLAIMS.iter().any(|claim| name.as_str().starts_with(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_are_claims_and_others_are_not() {
        for name in
            ["x-client-id", "client-cert", "client-cert-chain", "x-forwarded-client-cert", "x-ssl-cert"]
        {
            assert!(is_claim(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["content-type", "idempotency-key", "traceparent", "x-request-id"] {
            assert!(!is_claim(&HeaderName::from_static(name)), "{name}");
        }
    }
}
