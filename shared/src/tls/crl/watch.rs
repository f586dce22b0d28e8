//! Hints that a file may have changed.
//!
//! In: the paths of `crl.files` and `crl.authorities`, whose directories inotify watches. Out: a hint for each change
//! there. Refused: hints of being read, which whoever looks does itself: each look would ask for the next one, for ever.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};

/// Calls `hint` at every change in the directories of these paths, until it is dropped. A file that is replaced by
/// rename is another file in the same directory.
pub(super) fn watch(
    paths: &[&PathBuf],
    hint: impl Fn() + Send + 'static,
) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event| {
        if may_tell_of_a_change(&event) {
            hint();
        }
    })?;
    let parent = |path: &PathBuf| path.parent().map(Path::to_owned);
    let directories: BTreeSet<_> = paths
        .iter()
        .filter_map(|path| if path.is_dir() { Some((*path).clone()) } else { parent(path) })
        .collect();
    for directory in directories {
        watcher.watch(&directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Errors too: something may have been missed.
fn may_tell_of_a_change(event: &notify::Result<Event>) -> bool {
    const WRITTEN: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    event.as_ref().map_or(true, |event| event.kind == WRITTEN || !event.kind.is_access())
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn a_change_is_hinted_at_and_a_look_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, next) = (folder.path().join("list.pem"), folder.path().join("next"));
        fs::write(&file, "one").unwrap();
        let (sender, events) = mpsc::channel();
        let mut watcher = notify::recommended_watcher(move |event| _ = sender.send(event)).unwrap();
        watcher.watch(folder.path(), RecursiveMode::NonRecursive).unwrap();
        let hints_until = |name: &Path| {
            let mut hints = 0;
            loop {
                let event = events.recv_timeout(Duration::from_secs(30)).unwrap();
                hints += usize::from(may_tell_of_a_change(&event));
                if event.is_ok_and(|event| event.paths.iter().any(|path| path == name)) {
                    return hints;
                }
            }
        };

        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&next, "two").unwrap();
        assert_eq!(hints_until(&next), 1, "the change alone, and not the looks before it");
        fs::rename(&next, &file).unwrap();
        assert!(hints_until(&file) > 0);
        fs::remove_file(&file).unwrap();
        assert!(hints_until(&file) > 0);
    }
}
