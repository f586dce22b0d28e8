//! A certificate that was issued to somebody: the leaf, its holder, and the root that the holder trusts.

use std::ops::Deref;

use shared::identity::{Name, Workload};

use crate::{Leaf, hex::hex};

/// A leaf with its holder. What the leaf says can be asked of it directly ([`Leaf::fingerprint`] and so on).
#[derive(Debug, Clone)]
pub struct Issued {
    /// Whom it was issued to.
    pub holder: Workload,
    /// The client's domain; `None` for a service.
    pub domain: Option<String>,
    /// The certificate, its issuing CA and its key.
    pub leaf: Leaf,
    /// The root, PEM: the `ca.crt` that the holder passes to `--cacert`.
    pub root_pem: String,
}

impl Issued {
    /// The holder's name: the `client_id` or `service_id`, the CN and the folder.
    #[must_use]
    pub fn name(&self) -> &Name {
        match &self.holder {
            Workload::Client(name) | Workload::Service(_, name) => name,
        }
    }

    /// The one line of `fingerprint.txt`, as `openssl x509 -fingerprint -sha256` writes it:
    /// `SHA256 Fingerprint=AB:CD:…`. The database accepts it as it stands.
    #[must_use]
    pub fn fingerprint_line(&self) -> String {
        let pairs = self.leaf.fingerprint().as_bytes().map(|byte| hex(&[byte]));
        format!("SHA256 Fingerprint={}", pairs.join(":"))
    }
}

impl Deref for Issued {
    type Target = Leaf;

    fn deref(&self) -> &Leaf {
        &self.leaf
    }
}
