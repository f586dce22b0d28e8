//! The key ring file: making it, adding a key, taking one out.
//!
//! In: a path. Out: a file that its owner alone can read, written whole or not at all, under the owner it had. Refused:
//! reading one that others can read; overwriting one; two changes at the same time; taking out the current key.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use shared::identity::Name;
use zeroize::Zeroizing;

use super::ring::{KeyText, Ring, Written};

const HEAD: &str = "\
# Whoever has this file can read every stored message; without it nobody can. Back it up, apart from
# the database. `current` seals new messages; keep a key here until nothing it sealed is left.
# `blind_index` finds messages by sender number and recognises repeated ones: never change it.
# `portcullis-server rotate-keys` adds a key, and takes out one that is of no use any more.
";

/// Why a key ring cannot be used, made or changed.
#[derive(Debug, thiserror::Error)]
#[error("key ring {}: {text}", file.display())]
pub struct KeyringFault {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, and what to do.
    pub text: String,
}

/// The names in a key ring file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNames {
    /// Seals what is new.
    pub current: Name,
    /// Open what was sealed under them; the current one is among them.
    pub all: Vec<Name>,
}

/// Makes a key ring with one key. Refuses to overwrite: whatever the old keys sealed would be lost.
pub fn new_keyring(file: &Path) -> Result<(), KeyringFault> {
    let made = (|| {
        let current: Name = "k1".parse().map_err(|_| "k1 is no name".to_owned())?;
        let keys = [(current.clone(), random_key()?)].into();
        let text = text_of(&Written { current, keys, blind_index: random_key()? });
        write_new(file, &text, None).map_err(|error| format!("cannot be made: {error}"))
    })();
    made.map_err(|text| fault(file, text))
}

/// Adds a key and makes it the current one; answers its name. The old ones stay.
pub fn add_key(file: &Path) -> Result<Name, KeyringFault> {
    change(file, |written| {
        let last =
            written.keys.keys().filter_map(|id| id.as_str().strip_prefix('k')?.parse::<u32>().ok()).max();
        let id = format!("k{}", u64::from(last.unwrap_or_default()) + 1);
        let id: Name = id.parse().map_err(|_| format!("{id} is no name"))?;
        written.keys.insert(id.clone(), random_key()?);
        written.current = id.clone();
        Ok(id)
    })
}

/// Takes a key out. Whoever calls this has seen that nothing is sealed under it.
pub fn remove_key(file: &Path, id: &Name) -> Result<(), KeyringFault> {
    change(file, |written| {
        if written.current == *id {
            return Err(format!("{id} is the current key: add another one first (`rotate-keys` alone)"));
        }
        written.keys.remove(id).map(drop).ok_or_else(|| format!("has no key {id}"))
    })
}

/// The names of the keys.
pub fn key_names(file: &Path) -> Result<KeyNames, KeyringFault> {
    let named = read(file).and_then(|text| {
        let ring = Ring::parse(&text)?;
        Ok(KeyNames { all: ring.keys.into_keys().collect(), current: ring.current })
    });
    named.map_err(|text| fault(file, text))
}

/// The text of a key ring file that its owner alone can read.
pub(super) fn read(file: &Path) -> Result<Zeroizing<String>, String> {
    let mut opened = File::open(file).map_err(|error| {
        format!("cannot be read: {error} (make one with `portcullis-server new-keyring`)")
    })?;
    // Of the opened file, not of the path: the two could differ by now.
    let metadata = opened.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.mode() & 0o777;
    if others_may(mode, metadata.uid(), metadata.gid()) {
        return Err(format!("others may use it (mode {mode:03o}): chmod 600"));
    }
    let mut text = Zeroizing::new(String::new());
    opened.read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// A credential of systemd is root's and its group's, to read only, and an access list gives it to our user: where there
/// is such a list, the group's bits are its mask.
fn others_may(mode: u32, owner: u32, group: u32) -> bool {
    let credential = mode == 0o440 && (owner, group) == (0, 0);
    mode & 0o077 != 0 && !credential
}

pub(super) fn fault(file: &Path, text: String) -> KeyringFault {
    KeyringFault { file: file.to_owned(), text }
}

/// Writes a changed ring beside the old one, reads it back, and puts it in its place.
fn change<T>(file: &Path, change: impl FnOnce(&mut Written) -> Result<T, String>) -> Result<T, KeyringFault> {
    let changed = (|| {
        let io = |error: std::io::Error| error.to_string();
        // A link is followed: the file it leads to is the one to replace.
        let file = file.canonicalize().map_err(io)?;
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = file.with_file_name(name);
        // Made before the old one is read, so it is also the lock that keeps a second change out.
        let text = || -> Result<(Zeroizing<String>, T), String> {
            let mut written = Written::parse(&read(&file)?)?;
            Ring::of(&written)?;
            let done = change(&mut written)?;
            Ring::of(&written)?;
            Ok((text_of(&written), done))
        };
        let owner = file.metadata().map_err(io)?;
        let lock = create(&beside).map_err(|error| {
            format!(
                "{} cannot be made: {error} (if no other `rotate-keys` runs, remove it)",
                beside.display()
            )
        })?;
        let replaced = text().and_then(|(text, done)| {
            fill(lock, &text, Some((owner.uid(), owner.gid()))).map_err(io)?;
            std::fs::rename(&beside, &file).map_err(io)?;
            Ok(done)
        });
        match replaced {
            Ok(done) => sync_folder(&file).map_err(io).map(|()| done),
            Err(text) => {
                std::fs::remove_file(&beside)
                    .map_err(|error| format!("{text}; and cannot remove {}: {error}", beside.display()))?;
                Err(text)
            }
        }
    })();
    changed.map_err(|text| fault(file, text))
}

fn text_of(written: &Written) -> Zeroizing<String> {
    let Written { current, keys, blind_index: KeyText(index) } = written;
    let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + 128 * (keys.len() + 2)));
    text.push_str(HEAD);
    for part in ["current = \"", current.as_str(), "\"\nblind_index = \"", index, "\"\n\n[keys]\n"] {
        text.push_str(part);
    }
    for (id, KeyText(key)) in keys {
        // a dot in a bare key would make a table of it
        let quote = if id.as_str().contains('.') { "\"" } else { "" };
        for part in [quote, id.as_str(), quote, " = \"", key, "\"\n"] {
            text.push_str(part);
        }
    }
    text
}

fn random_key() -> Result<KeyText, String> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| "no random numbers".to_owned())?;
    Ok(KeyText(STANDARD.encode(bytes.as_slice())))
}

fn write_new(file: &Path, text: &str, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    fill(create(file)?, text, owner)?;
    sync_folder(file)
}

fn create(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

fn fill(mut file: File, text: &str, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let made = file.metadata()?;
    // run as root, it must not take the file away from the server's user
    if let Some((user, group)) = owner.filter(|owner| *owner != (made.uid(), made.gid())) {
        fchown(&file, Some(user), Some(group))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
