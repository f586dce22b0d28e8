//! What a key ring file says: `current`, `[keys]` of 32 bytes each, and `blind_index`, all in base64.
//!
//! In: the text of the file. Out: keys ready for use. Refused, by name: keys of another length, a `current` that is
//! not in the ring, unknown members; and, of a ring that follows another one, keys that were exchanged.

use std::collections::BTreeMap;

use aws_lc_rs::{aead::RandomizedNonceKey, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use shared::identity::Name;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Unreadable, envelope};

/// The keys that seal and open: the current one seals, all of them open.
pub(super) struct Ring {
    pub(super) current: Name,
    pub(super) keys: BTreeMap<Name, RandomizedNonceKey>,
    pub(super) blind_index: hmac::Key,
    /// By which a key is recognised: keyed hashes, of which nobody learns the key.
    marks: BTreeMap<Name, Vec<u8>>,
}

/// The file, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) current: Name,
    pub(super) keys: BTreeMap<Name, KeyText>,
    pub(super) blind_index: KeyText,
}

/// A key in base64.
#[derive(Deserialize, ZeroizeOnDrop)]
pub(super) struct KeyText(pub(super) String);

impl Written {
    /// Reads the text of a file. What it says may still be wrong: see [`Ring::of`].
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // The message of a TOML error quotes the line, which may hold a key.
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }
}

impl Ring {
    /// The ring in a file's text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::of(&Written::parse(text)?)
    }

    pub(super) fn of(written: &Written) -> Result<Self, String> {
        if !written.keys.contains_key(&written.current) {
            return Err(format!("current = {:?} is not in [keys]", written.current.as_str()));
        }
        let index = key_bytes(&written.blind_index).map_err(|text| format!("blind_index {text}"))?;
        let blind_index = hmac::Key::new(hmac::HMAC_SHA256, index.as_slice());
        let (mut keys, mut marks) = (BTreeMap::new(), BTreeMap::new());
        for (id, key) in &written.keys {
            let bytes = key_bytes(key).map_err(|text| format!("keys.{id} {text}"))?;
            let key = envelope::key(&bytes).map_err(|error| format!("keys.{id}: {error}"))?;
            keys.insert(id.clone(), key);
            marks.insert(id.clone(), mark(&blind_index, bytes.as_slice()));
        }
        Ok(Self { current: written.current.clone(), keys, blind_index, marks })
    }

    /// Whether this ring may take the place of `earlier` in a running server. A key that is another one under the
    /// same name would seal what the other servers cannot open; another index would recognise nothing that was sent before.
    pub(super) fn follows(&self, earlier: &Self) -> Result<(), String> {
        if mark(&self.blind_index, &[]) != mark(&earlier.blind_index, &[]) {
            return Err("blind_index is another one: put the old one back, it never changes".to_owned());
        }
        let exchanged =
            |(id, mark): &(&Name, &Vec<u8>)| earlier.marks.get(*id).is_some_and(|old| old != *mark);
        match self.marks.iter().find(exchanged) {
            Some((id, _)) => Err(format!(
                "keys.{id} is another key: put the old one back, and give the new one a name of its own"
            )),
            None => Ok(()),
        }
    }

    /// The key of this name.
    pub(super) fn key(&self, id: &str) -> Result<&RandomizedNonceKey, Unreadable> {
        let unknown = || Unreadable::UnknownKey(id.to_owned());
        self.keys.get(&id.parse::<Name>().map_err(|_| unknown())?).ok_or_else(unknown)
    }
}

fn mark(blind_index: &hmac::Key, key: &[u8]) -> Vec<u8> {
    let about = Zeroizing::new(envelope::context(&[b"portcullis key mark v1", key]));
    hmac::sign(blind_index, &about).as_ref().to_vec()
}

fn key_bytes(KeyText(text): &KeyText) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let decoded = Zeroizing::new(STANDARD.decode(text).map_err(|_| "is not base64")?);
    let bytes = decoded.as_slice().try_into().map_err(|_| "does not have 32 bytes")?;
    Ok(Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const OTHER: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";

    fn ring(current: &str, keys: &[(&str, &str)], index: &str) -> String {
        let keys: Vec<_> = keys.iter().map(|(id, key)| format!("{id} = '{key}'")).collect();
        format!("current = '{current}'\nblind_index = '{index}'\n[keys]\n{}", keys.join("\n"))
    }

    fn refusal(text: &str) -> String {
        Ring::parse(text).err().expect("refused")
    }

    #[test]
    fn keys_of_another_length_and_unknown_members_are_refused_by_name() {
        let one = |current, key, index| ring(current, &[("k1", key)], index);
        assert!(Ring::parse(&one("k1", KEY, KEY)).is_ok());
        assert!(refusal(&one("k1", "AAAA", KEY)).contains("keys.k1 does not have 32 bytes"));
        assert!(refusal(&one("k1", "%%%%", KEY)).contains("keys.k1 is not base64"));
        assert!(refusal(&one("k1", KEY, "AAAA")).contains("blind_index does not have 32 bytes"));
        assert!(refusal(&one("k2", KEY, KEY)).contains("\"k2\" is not in [keys]"));
        assert!(refusal("current = 'k1'").contains("missing field"));
        assert!(refusal(&format!("extra = 1\n{}", one("k1", KEY, KEY))).contains("unknown field"));
    }

    #[test]
    fn no_key_is_shown_in_errors() {
        let secret = "c2VjcmV0";
        assert!(!refusal(&format!("current = 'k1'\nblind_index = {secret}")).contains(secret));
    }

    #[test]
    fn a_ring_with_an_exchanged_key_or_index_does_not_follow() {
        let of = |text: String| Ring::parse(&text).unwrap();
        let earlier = of(ring("k1", &[("k1", KEY)], KEY));
        let follows = |text| of(text).follows(&earlier);
        assert_eq!(follows(ring("k2", &[("k1", KEY), ("k2", OTHER)], KEY)), Ok(()));
        assert_eq!(follows(ring("k2", &[("k2", OTHER)], KEY)), Ok(()));
        let exchanged = follows(ring("k2", &[("k1", OTHER), ("k2", KEY)], KEY)).unwrap_err();
        assert!(exchanged.contains("keys.k1") && !exchanged.contains(OTHER), "{exchanged}");
        assert!(follows(ring("k1", &[("k1", KEY)], OTHER)).unwrap_err().contains("blind_index"));
    }
}
