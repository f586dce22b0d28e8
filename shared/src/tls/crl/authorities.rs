//! The CAs whose lists count: those of the door's bundle and those of the file `crl.authorities`, both of which change.
//!
//! In: another bundle, another file. Out: places for exactly these CAs; one that had a list keeps it. Refused: a file
//! that cannot be used; the CAs that it named last stay.

use std::sync::Arc;

use rustls_pki_types::UnixTime;
use tokio::task::spawn_blocking;
use tracing::info;

use super::{CrlFault, RevocationLists, source::Origin};
use crate::{
    identity::Certificate,
    tls::{BundleKind, TrustBundle},
};

impl RevocationLists {
    /// The door believes another bundle now: places for its CAs. One that is new here has no list until the
    /// sources were read once more.
    pub async fn believe(self: &Arc<Self>, bundle: &TrustBundle) {
        self.bundle.store(Arc::new(bundle.authorities().to_vec()));
        self.place_anew().await;
    }

    /// The same for the CAs that are known beside the door's.
    pub async fn believe_beside(self: &Arc<Self>, bundle: &TrustBundle) {
        self.beside.store(Arc::new(bundle.authorities().to_vec()));
        self.place_anew().await;
    }

    /// Reads `crl.authorities` again, if there is one.
    pub(super) async fn look_at_authorities(self: &Arc<Self>) {
        let Some(file) = self.config().authorities.clone() else { return };
        let origin = Origin::File(file.clone());
        let read = spawn_blocking(move || TrustBundle::read(&file, BundleKind::AnyAuthority)).await;
        let read = match read {
            Ok(read) => read.map_err(|error| CrlFault::Unreadable(error.to_string())),
            Err(_) => Err(CrlFault::Malformed("reading it failed")),
        };
        self.record(origin, &read.as_ref().map(drop).map_err(Clone::clone));
        let Ok(bundle) = read else { return };
        let same = |one: &[Arc<Certificate>], other: &[Arc<Certificate>]| {
            one.iter().map(|ca| ca.fingerprint).eq(other.iter().map(|ca| ca.fingerprint))
        };
        if !same(&self.further.load(), bundle.authorities()) {
            info!(cas = bundle.authorities().len(), "crl.authorities changed");
            self.further.store(Arc::new(bundle.authorities().to_vec()));
            self.place_anew().await;
        }
    }

    async fn place_anew(self: &Arc<Self>) {
        {
            // A list that is being loaded would put the old places back.
            let _turn = self.turn.lock().await;
            let (bundle, beside, further) = (self.bundle.load(), self.beside.load(), self.further.load());
            let authorities: Vec<_> =
                bundle.iter().chain(beside.iter()).chain(further.iter()).cloned().collect();
            let mut book = self.book();
            book.bundle += 1;
            // A CA that comes back has lost its list: every source gives it again.
            book.rows.clear();
            self.replace_places(&authorities, UnixTime::now());
        }
        self.urls.lock().await.forget();
        self.read_files_anew().await;
    }
}
