//! What each `code` of the proxy means to whoever asked `whoami`, and what to do about it.

use shared::wire::Code;

/// Why the proxy refuses, and what to do.
pub(super) fn explain(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::CertificateRevoked => (
            "the operator revoked your certificate",
            "this is final: ask for a new certificate (portcullis-certs issue client under a new name)",
        ),
        Code::CertificateExpired => (
            "your certificate, a CA above it, or your registration has ended",
            "ask the operator to renew it (portcullis-certs renew)",
        ),
        Code::CertificateNotYetValid => (
            "your certificate begins in the future by the proxy's clock",
            "compare both clocks (see \"clock\"); else wait until it begins, then connect anew",
        ),
        Code::CertificateUnknown => (
            "your certificate is of a trusted CA but registered for nobody; after a renewal that is the old one",
            "give the fingerprint to the operator, who registers it (the SQL is what portcullis-certs issue printed); use \
             the new certificate if there was a renewal",
        ),
        Code::CertificateMismatch => (
            "your certificate names another client than the one it is registered for",
            "ask the operator to register it under the name that is in it",
        ),
        Code::ClientSuspended => (
            "the operator suspended you; this can be undone",
            "ask the operator to set your status to active again",
        ),
        Code::RoleNotAdmitted => (
            "this door is for other services: your certificate's role is not admitted",
            "check the port: clients call the proxy (8001), not a main server",
        ),
        Code::RegistryStale => (
            "the proxy could not read the client table for too long and admits nobody",
            "retry later; tell the operator: the proxy does not reach its database",
        ),
        Code::CrlStale => (
            "the revocation list for your CA is out of date or missing",
            "retry later; tell the operator to run portcullis-certs crl --refresh",
        ),
        Code::RateLimited => {
            ("you ask more often than you may", "wait for Retry-After, and send more slowly")
        }
        Code::Overloaded | Code::UpstreamUnavailable | Code::BacklogExceeded => {
            ("the proxy cannot take more at the moment", "retry after a pause; tell the operator if it lasts")
        }
        Code::NotFound | Code::MethodNotAllowed => {
            ("this server has no whoami", "check the URL: give only https://HOST:PORT of the proxy")
        }
        _ => ("the proxy refuses the request", "tell the operator the code and the request_id"),
    }
}
