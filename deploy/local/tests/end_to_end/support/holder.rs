//! Holders of certificates of every kind, also of such as nobody should believe.
//!
//! In: a certificate that was made in memory. Out: files that curl can show, and a registration in whatever
//! name. Nothing is refused here: that is what the tests are about.

#![expect(clippy::unwrap_used, reason = "a test whose fixtures cannot be made cannot go on")]

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use certs::{ClientRequest, Leaf, LeafRequest};
use local::{Client, Curl, Stack};
use shared::identity::Name;
use time::{Duration, OffsetDateTime};

/// Somebody with a certificate and its key.
pub(crate) struct Holder {
    /// For curl; its id is only a name.
    pub(crate) client: Client,
    pub(crate) leaf: Leaf,
}

impl Holder {
    /// Holds this leaf. The root is the stack's, for the holder believes the stack.
    pub(crate) fn of(stack: &Stack, leaf: Leaf) -> Self {
        let chain = leaf.certificate_pem().to_owned();
        Self::with_chain(stack, &chain, leaf)
    }

    /// Shows `chain` instead of the leaf's own, with the leaf's key.
    pub(crate) fn with_chain(stack: &Stack, chain: &str, leaf: Leaf) -> Self {
        let id = new_name().to_string();
        let folder = stack.folder().join("holders").join(&id);
        fs::create_dir_all(&folder).unwrap();
        let (cert, key) = (folder.join("holder.crt"), folder.join("holder.key"));
        fs::write(&cert, chain).unwrap();
        fs::write(&key, leaf.key().pem()).unwrap();
        Self { client: Client { id, cert, key, ca: stack.pki().join("ca.crt") }, leaf }
    }

    /// Registers the certificate for a client of this name.
    pub(crate) fn register_as(&self, stack: &Stack, client_id: &Name) {
        let statement = format!(
            "INSERT INTO clients (client_id, cert_fingerprint, domain, status, issued_at, expires_at) \
             VALUES ('{client_id}', '{}', 'example.com', 'active', NOW(), NOW() + INTERVAL '365 days')",
            self.leaf.fingerprint()
        );
        stack.sql(&statement).unwrap();
    }

    pub(crate) fn curl(&self) -> Curl {
        Curl::of(&self.client)
    }
}

/// A name that nobody has yet.
pub(crate) fn new_name() -> Name {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("holder_{:04}", COUNT.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
}

/// What the stack's authority would sign for a client of this name.
pub(crate) fn request(stack: &Stack, name: &Name) -> LeafRequest {
    stack.authority().client_leaf(name, &ClientRequest::default())
}

/// The same, ended yesterday.
pub(crate) fn expired(request: LeafRequest) -> LeafRequest {
    let now = OffsetDateTime::now_utc();
    LeafRequest { not_before: now - Duration::days(30), not_after: now - Duration::days(1), ..request }
}

/// The same, from tomorrow on.
pub(crate) fn not_yet_valid(request: LeafRequest) -> LeafRequest {
    let now = OffsetDateTime::now_utc();
    LeafRequest { not_before: now + Duration::days(1), not_after: now + Duration::days(30), ..request }
}
