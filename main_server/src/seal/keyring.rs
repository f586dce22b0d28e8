//! The key ring file: `current`, `[keys]` of 32 bytes each, and `blind_index`, all in base64.
//!
//! In: a file that only its owner can read. Out: keys ready for use. Refused, by name: a file that others
//! can read, keys of another length, a `current` that is not in the ring, unknown members.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::{aead::RandomizedNonceKey, hmac, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use shared::identity::Name;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::envelope;

/// The keys that seal and open: the current one seals, all of them open.
pub struct Keyring {
    pub(super) current: Name,
    pub(super) keys: BTreeMap<Name, RandomizedNonceKey>,
    pub(super) blind_index: hmac::Key,
}

/// Why a key ring cannot be used, or made.
#[derive(Debug, thiserror::Error)]
#[error("key ring {}: {text}", file.display())]
pub struct KeyringFault {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, and what to do.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    current: Name,
    keys: BTreeMap<Name, KeyText>,
    blind_index: KeyText,
}

/// A key in base64.
#[derive(Deserialize, ZeroizeOnDrop)]
struct KeyText(String);

impl Keyring {
    /// Reads a key ring.
    pub fn load(file: &Path) -> Result<Self, KeyringFault> {
        let fault = |text: String| KeyringFault { file: file.to_owned(), text };
        let mut text = Zeroizing::new(String::new());
        let mut opened = File::open(file).map_err(|error| {
            fault(format!("cannot be read: {error} (make one with `portcullis-server new-keyring`)"))
        })?;
        // Of the opened file, not of the path: the two could differ by now.
        let mode = opened.metadata().map_err(|error| fault(error.to_string()))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(fault(format!("others may use it (mode {mode:03o}): chmod 600")));
        }
        opened.read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
        Self::parse(&text).map_err(fault)
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The message of a TOML error quotes the line, which may hold a key.
        let written: Written = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if !written.keys.contains_key(&written.current) {
            return Err(format!("current = {:?} is not in [keys]", written.current.as_str()));
        }
        let mut keys = BTreeMap::new();
        for (id, key) in &written.keys {
            let bytes = key_bytes(key).map_err(|text| format!("keys.{id} {text}"))?;
            let key = envelope::key(&bytes).map_err(|error| format!("keys.{id}: {error}"))?;
            keys.insert(id.clone(), key);
        }
        let index = key_bytes(&written.blind_index).map_err(|text| format!("blind_index {text}"))?;
        let blind_index = hmac::Key::new(hmac::HMAC_SHA256, index.as_slice());
        Ok(Self { current: written.current, keys, blind_index })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.keys().collect();
        f.debug_struct("Keyring").field("current", &self.current).field("ids", &ids).finish_non_exhaustive()
    }
}

fn key_bytes(KeyText(text): &KeyText) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let decoded = Zeroizing::new(STANDARD.decode(text).map_err(|_| "is not base64")?);
    let bytes = decoded.as_slice().try_into().map_err(|_| "does not have 32 bytes")?;
    Ok(Zeroizing::new(bytes))
}

/// Makes a key ring with one key, readable by its owner alone. Refuses to overwrite: whatever the old keys
/// sealed would be lost.
pub fn new_keyring(file: &Path) -> Result<(), KeyringFault> {
    let fault = |text: String| KeyringFault { file: file.to_owned(), text };
    let random = || -> Result<Zeroizing<String>, KeyringFault> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| fault("no random numbers".to_owned()))?;
        Ok(Zeroizing::new(STANDARD.encode(bytes.as_slice())))
    };
    let (key, index) = (random()?, random()?);
    let text = Zeroizing::new(format!(
        "# Whoever has this file can read every stored message; without it nobody can. Back it up, apart from\n\
         # the database. `current` seals new messages; keep a key here until nothing it sealed is left.\n\
         # `blind_index` finds messages by sender number and recognises repeated ones: never change it.\n\
         current = \"k1\"\n\
         blind_index = \"{}\"\n\n\
         [keys]\n\
         k1 = \"{}\"\n",
        *index, *key
    ));
    let mut created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| fault(format!("cannot be made: {error}")))?;
    created
        .write_all(text.as_bytes())
        .and_then(|()| created.sync_all())
        .map_err(|error| fault(error.to_string()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn refusal(text: &str) -> String {
        Keyring::parse(text).expect_err("refused")
    }

    #[test]
    fn a_new_key_ring_loads_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyring.toml");
        new_keyring(&file).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(Keyring::load(&file).unwrap().keys.len(), 1);
        assert!(new_keyring(&file).unwrap_err().to_string().contains("cannot be made"));
    }

    #[test]
    fn a_key_ring_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyring.toml");
        new_keyring(&file).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let refusal = Keyring::load(&file).unwrap_err().to_string();
            assert!(refusal.contains("chmod 600"), "{refusal}");
        }
    }

    #[test]
    fn keys_of_another_length_and_unknown_members_are_refused_by_name() {
        let ring = |current: &str, key: &str, index: &str| {
            format!("current = '{current}'\nblind_index = '{index}'\n[keys]\nk1 = '{key}'")
        };
        assert!(Keyring::parse(&ring("k1", KEY, KEY)).is_ok());
        assert!(refusal(&ring("k1", "AAAA", KEY)).contains("keys.k1 does not have 32 bytes"));
        assert!(refusal(&ring("k1", "%%%%", KEY)).contains("keys.k1 is not base64"));
        assert!(refusal(&ring("k1", KEY, "AAAA")).contains("blind_index does not have 32 bytes"));
        assert!(refusal(&ring("k2", KEY, KEY)).contains("\"k2\" is not in [keys]"));
        assert!(refusal("current = 'k1'").contains("missing field"));
        assert!(refusal(&format!("extra = 1\n{}", ring("k1", KEY, KEY))).contains("unknown field"));
    }

    #[test]
    fn no_key_is_shown_in_errors_or_debug_output() {
        let secret = "c2VjcmV0";
        assert!(!refusal(&format!("current = 'k1'\nblind_index = {secret}")).contains(secret));
        let ring = Keyring::parse(&format!("current='k1'\nblind_index='{KEY}'\n[keys]\nk1='{KEY}'")).unwrap();
        assert!(!format!("{ring:?}").contains("AAAA"));
    }
}
