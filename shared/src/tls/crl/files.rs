//! Files and directories as a source of lists.
//!
//! In: the paths of `crl.files`. Out: the bytes of each file that is new or was changed, offered to the
//! [`RevocationLists`]. Watched by inotify, looked at every `crl.poll` in any case, and read anew on SIGHUP. A
//! file may be caught half written: it is refused, the last good list stays, and its next change is seen.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::spawn_blocking,
};
use tracing::{info, warn};

use super::{CrlFault, RevocationLists, source::Origin, watch::watch};
use crate::shutdown::Shutdown;

/// What was seen of each file when it was read last.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<Origin, Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    stamp: Stamp,
    failed: bool,
}

/// By which a changed file is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// How thorough a look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// At what was changed.
    Changed,
    /// At what was refused too: time may have mended it.
    Failed,
    /// At everything.
    All,
}

/// A configured source cannot be used, so that the process must not start.
#[derive(Debug, thiserror::Error)]
#[error("[crl] {origin}: {fault}")]
pub struct Unusable {
    pub(super) origin: Origin,
    pub(super) fault: CrlFault,
}

impl RevocationLists {
    /// Reads every configured file and distribution point, once. Refused: any that cannot be used, by name.
    pub async fn load_configured(self: &Arc<Self>) -> Result<(), Unusable> {
        let files = self.look(Look::All).await;
        files.into_iter().chain(self.ask_urls().await).next().map_or(Ok(()), Err)
    }

    /// Keeps reading them, until the soft stop. SIGHUP is obeyed, and harmless, without any too.
    pub async fn watch_configured(self: Arc<Self>, shutdown: Shutdown) {
        // Apart: a distribution point that does not answer must not keep a changed file waiting.
        tokio::join!(self.watch_files(&shutdown), self.poll_urls(&shutdown));
    }

    /// Offers the lists of all configured files again.
    pub(super) async fn read_files_anew(self: &Arc<Self>) {
        self.look(Look::All).await;
    }

    async fn watch_files(self: &Arc<Self>, shutdown: &Shutdown) {
        let changed = Arc::new(Notify::new());
        let _watcher = self.watcher(changed.clone());
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                warn!(%error, "SIGHUP is not obeyed");
                return shutdown.requested().await;
            }
        };
        // What was written before the watch began.
        self.look_at_authorities().await;
        self.look(Look::Changed).await;
        while !shutdown.is_requested() {
            let look = tokio::select! {
                () = changed.notified() => Look::Changed,
                () = tokio::time::sleep(self.config().poll.0) => Look::Failed,
                _ = hangup.recv() => {
                    info!("SIGHUP: reading the revocation lists anew");
                    Look::All
                }
                () = shutdown.requested() => return,
            };
            self.look_at_authorities().await;
            self.look(look).await;
            self.note_late();
        }
    }

    fn watcher(&self, changed: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
        let paths: Vec<&PathBuf> = self.config().files.iter().chain(&self.config().authorities).collect();
        if paths.is_empty() {
            return None;
        }
        watch(&paths, move || changed.notify_one())
            .inspect_err(
                |error| warn!(%error, "crl.files and crl.authorities are not watched; polling alone"),
            )
            .ok()
    }

    async fn look(self: &Arc<Self>, look: Look) -> Vec<Unusable> {
        let mut files = self.files.lock().await;
        let mut unusable = Vec::new();
        for path in &self.config().files {
            let refused = |fault| Unusable { origin: Origin::File(path.clone()), fault };
            match find(path.clone()).await {
                Ok(origins) => {
                    for origin in origins {
                        unusable.extend(self.read(&mut files, origin, look).await.err().map(refused));
                    }
                    files.forget(path, self);
                }
                Err(fault) => {
                    self.record(Origin::File(path.clone()), &Err(fault.clone()));
                    unusable.push(refused(fault));
                }
            }
        }
        unusable
    }

    /// Offers one file if this look is at it.
    async fn read(self: &Arc<Self>, files: &mut Files, origin: Origin, look: Look) -> Result<(), CrlFault> {
        let (Origin::File(path) | Origin::InDirectory(path)) = &origin else { return Ok(()) };
        let before = files.0.get(&origin).copied();
        let path = path.clone();
        let read = spawn_blocking(move || read_if(&path, before, look)).await;
        let read = read.unwrap_or(Err(CrlFault::Malformed("reading it failed")));
        let (stamp, outcome) = match read {
            Ok(None) => return Ok(()),
            Ok(Some((stamp, bytes))) => (stamp, self.offer(origin.clone(), bytes).await),
            Err(fault) => {
                self.record(origin.clone(), &Err(fault.clone()));
                (Stamp { modified: None, length: 0, inode: 0 }, Err(fault))
            }
        };
        files.0.insert(origin, Seen { stamp, failed: outcome.is_err() });
        outcome
    }
}

impl Files {
    /// Files that a directory no longer holds: their lists stay in force, and it is said once.
    fn forget(&mut self, directory: &Path, lists: &RevocationLists) {
        let gone = |origin: &Origin| matches!(origin, Origin::InDirectory(path) if path.parent() == Some(directory) && !path.exists());
        self.0.retain(|origin, _| {
            let gone = gone(origin);
            if gone {
                lists.record(origin.clone(), &Err(CrlFault::Unreadable("the file is gone".to_owned())));
            }
            !gone
        });
    }
}

/// The files behind a configured path.
async fn find(path: PathBuf) -> Result<Vec<Origin>, CrlFault> {
    let found = spawn_blocking(move || {
        if !path.is_dir() {
            return Ok(vec![Origin::File(path)]);
        }
        let entries = fs::read_dir(&path).map_err(|error| CrlFault::Unreadable(error.to_string()))?;
        let is_list = |path: &PathBuf| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            ending.is_some_and(|ending| ["pem", "crl", "der"].contains(&ending)) && path.is_file()
        };
        let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_list);
        let mut files: Vec<_> = files.map(Origin::InDirectory).collect();
        files.sort();
        if files.is_empty() { Err(CrlFault::Empty) } else { Ok(files) }
    });
    found.await.unwrap_or(Err(CrlFault::Malformed("reading it failed")))
}

/// The bytes of a file, unless this look is not at it.
fn read_if(path: &Path, before: Option<Seen>, look: Look) -> Result<Option<(Stamp, Vec<u8>)>, CrlFault> {
    let unreadable = |error: std::io::Error| CrlFault::Unreadable(error.to_string());
    // What is written after this moment gives another stamp, and another look.
    let stamp = Stamp::of(&fs::metadata(path).map_err(unreadable)?);
    let skip = before.is_some_and(|before| match look {
        Look::Changed => before.stamp == stamp,
        Look::Failed => before.stamp == stamp && !before.failed,
        Look::All => false,
    });
    if skip {
        return Ok(None);
    }
    Ok(Some((stamp, fs::read(path).map_err(unreadable)?)))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino() }
    }
}
