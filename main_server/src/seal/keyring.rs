//! The keys in force: read at start, and anew when the file changes.
//!
//! In: a key ring file, looked at every `keyring.reload` and on SIGHUP. Out: the ring for the next message, swapped in
//! whole. Refused: a file that cannot be used, or in which a key was exchanged; the last good ring stays, the log says
//! why, and `/readyz` and `portcullis_keyring_unusable` do too.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use shared::{
    identity::{Fingerprint, Name},
    shutdown::Shutdown,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::sleep,
};
use tracing::{error, info, warn};

use super::{
    ring::Ring,
    ring_file::{KeyringFault, fault, read},
};

/// The keys that seal and open, as the file has them now.
pub struct Keyring {
    file: PathBuf,
    pub(super) ring: ArcSwap<Ring>,
    /// The same in every ring that follows another.
    pub(super) blind_index: hmac::Key,
    seen: Mutex<Seen>,
}

/// What was tried last.
struct Seen {
    contents: Result<Fingerprint, String>,
    trouble: Option<String>,
}

impl Keyring {
    /// Reads a key ring.
    pub fn load(file: &Path) -> Result<Self, KeyringFault> {
        let of_file = |text| fault(file, text);
        let text = read(file).map_err(of_file)?;
        let ring = Ring::parse(&text).map_err(of_file)?;
        Ok(Self {
            file: file.to_owned(),
            blind_index: ring.blind_index.clone(),
            ring: ArcSwap::from_pointee(ring),
            seen: Mutex::new(Seen { contents: Ok(Fingerprint::of_der(text.as_bytes())), trouble: None }),
        })
    }

    /// Looks at the file until the soft stop.
    pub fn watch(self: &Arc<Self>, every: Duration, metrics: &mut Registry, shutdown: &Shutdown) {
        let unusable = Gauge::<i64>::default();
        let help = "1 while the key ring file is one that cannot be used, and the last good one is in force";
        metrics.register("portcullis_keyring_unusable", help, unusable.clone());
        let (keyring, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn("keyring", async move {
            let mut hangup = match signal(SignalKind::hangup()) {
                Ok(hangup) => hangup,
                Err(error) => {
                    warn!(%error, "SIGHUP is not obeyed");
                    return stop.requested().await;
                }
            };
            loop {
                tokio::select! {
                    () = sleep(every) => {}
                    _ = hangup.recv() => info!("SIGHUP: reading the key ring anew"),
                    () = stop.requested() => return,
                }
                let looking = keyring.clone();
                if let Err(error) = spawn_blocking(move || looking.look()).await {
                    error!(%error, "reading the key ring broke off");
                }
                unusable.set(i64::from(keyring.seen().trouble.is_some()));
            }
        });
    }

    /// Reads the file if it is another one than at the last look.
    pub fn look(&self) {
        let text = read(&self.file);
        let contents = text.as_ref().map(|text| Fingerprint::of_der(text.as_bytes())).map_err(Clone::clone);
        if self.seen().contents == contents {
            return;
        }
        let ring = text.and_then(|text| {
            let ring = Ring::parse(&text)?;
            ring.follows(&self.ring.load())?;
            Ok(ring)
        });
        let trouble = match ring {
            Ok(ring) => {
                let earlier = self.ring.swap(Arc::new(ring));
                let gone: Vec<_> =
                    earlier.keys.keys().filter(|id| !self.ring.load().keys.contains_key(*id)).collect();
                info!(keys = ?self, ?gone, "the key ring was read anew");
                None
            }
            Err(text) => {
                let fault = fault(&self.file, text);
                error!(%fault, "the key ring changed and cannot be used; the last good one stays in force");
                Some(fault.to_string())
            }
        };
        *self.seen() = Seen { contents, trouble };
    }

    /// What is in force, and whether the file that is there now could not be used. That is no reason to take the server
    /// out of service: the last good ring serves.
    #[must_use]
    pub fn detail(&self) -> String {
        let ring = self.ring.load();
        let in_force = format!("{} keys, {} is current", ring.keys.len(), ring.current);
        match &self.seen().trouble {
            Some(trouble) => format!("{in_force}; a change could not be used: {trouble}"),
            None => in_force,
        }
    }

    /// The key that seals what is new.
    #[must_use]
    pub fn current(&self) -> Name {
        self.ring.load().current.clone()
    }

    /// Whether messages are sealed under this one.
    #[must_use]
    pub fn is_current(&self, key_id: &Name) -> bool {
        self.ring.load().current == *key_id
    }

    /// The keys there are.
    #[must_use]
    pub fn key_ids(&self) -> Vec<Name> {
        self.ring.load().keys.keys().cloned().collect()
    }

    /// What is done under the lock does not panic.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.ring.load();
        let ids: Vec<_> = ring.keys.keys().collect();
        f.debug_struct("Keyring").field("current", &ring.current).field("ids", &ids).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{add_key, new_keyring, remove_key};
    use std::{fs, os::unix::fs::PermissionsExt as _};

    fn loaded() -> (tempfile::TempDir, PathBuf, Keyring) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyring.toml");
        new_keyring(&file).unwrap();
        let keyring = Keyring::load(&file).unwrap();
        (folder, file, keyring)
    }

    #[test]
    fn a_rotated_ring_is_in_force_after_a_look_and_opens_what_was_sealed_before() {
        let (_folder, file, keyring) = loaded();
        let (id, job) = ("k1", uuid::Uuid::now_v7());
        let sealed = keyring.seal_error(job, "before").unwrap();
        assert_eq!(sealed.0, id);
        add_key(&file).unwrap();
        keyring.look();
        assert_eq!(keyring.current().as_str(), "k2");
        assert_eq!(keyring.open_error(job, id, sealed.1.clone()).unwrap(), "before");
        remove_key(&file, &"k1".parse().unwrap()).unwrap();
        keyring.look();
        assert!(keyring.open_error(job, id, sealed.1).is_err());
    }

    #[test]
    fn a_broken_file_leaves_the_last_good_ring_in_force_and_is_told_of() {
        let (_folder, file, keyring) = loaded();
        let good = fs::read_to_string(&file).unwrap();
        let exchanged = format!("{}k1 = \"{}=\"\n", good.split("k1 = ").next().unwrap(), "A".repeat(43));
        for broken in ["", "current = \"k1\"", &good.replace("\"k1\"", "\"k9\""), &exchanged] {
            fs::write(&file, broken).unwrap();
            keyring.look();
            assert_eq!(keyring.current().as_str(), "k1");
            assert!(keyring.detail().contains("a change could not be used"), "{}", keyring.detail());
        }
        fs::remove_file(&file).unwrap();
        keyring.look();
        assert!(keyring.detail().contains("cannot be read"), "{}", keyring.detail());
        fs::write(&file, good).unwrap();
        keyring.look();
        assert!(keyring.detail().contains("others may use it"), "{}", keyring.detail());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        keyring.look();
        assert_eq!(keyring.detail(), "1 keys, k1 is current");
    }

    #[test]
    fn no_key_is_shown_in_debug_output() {
        let (_folder, file, keyring) = loaded();
        let text = fs::read_to_string(file).unwrap();
        let key = text.split("k1 = \"").nth(1).unwrap().trim_end().trim_end_matches('"');
        assert!(!format!("{keyring:?} {}", keyring.detail()).contains(key));
    }
}
