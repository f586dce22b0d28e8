//! What is remembered of each of many: one lock per shard, held for a few instructions.
//!
//! In: a key and what to do with its value. Out: what that answers. Refused: a new key where a shard is full; then
//! nothing is remembered of it. Values that say no more than a new one would are forgotten from time to time, so
//! that whoever went away takes no memory.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher as _, Hash},
    sync::{Mutex, MutexGuard, PoisonError},
};

const SHARDS: usize = 256;

#[derive(Debug)]
pub(super) struct Shards<K, V> {
    maps: Vec<Mutex<HashMap<K, V>>>,
    hasher: RandomState,
    /// Keys of one shard.
    most: usize,
}

impl<K: Hash + Eq + Clone, V> Shards<K, V> {
    /// For about so many keys.
    pub(super) fn new(most: usize) -> Self {
        let maps = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { maps, hasher: RandomState::new(), most: most.div_ceil(SHARDS) }
    }

    /// Looks at a value, a new one if there is none. `None`: there is no room for it.
    pub(super) fn with<T>(
        &self,
        key: &K,
        new: impl FnOnce() -> V,
        look: impl FnOnce(&mut V) -> T,
    ) -> Option<T> {
        let mut shard = self.of(key);
        if !shard.contains_key(key) {
            if shard.len() >= self.most {
                return None;
            }
            shard.insert(key.clone(), new());
        }
        shard.get_mut(key).map(look)
    }

    /// Looks at a value that is there.
    pub(super) fn with_known(&self, key: &K, look: impl FnOnce(&mut V)) {
        self.of(key).get_mut(key).map(look);
    }

    /// Forgets the values that `keep` does not want, one shard after the other; answers how many are left.
    pub(super) fn forget(&self, mut keep: impl FnMut(&mut V) -> bool) -> usize {
        let mut left = 0;
        for shard in &self.maps {
            let mut shard = lock(shard);
            shard.retain(|_, value| keep(value));
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
            left += shard.len();
        }
        left
    }

    fn of(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        // the lower bits choose a place within the shard's own map
        let hash = self.hasher.hash_one(key) >> 32;
        lock(&self.maps[usize::try_from(hash).unwrap_or(0) % SHARDS])
    }
}

/// A value is changed by code that does not panic half-way.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_keys_are_remembered_and_those_not_wanted_are_forgotten() {
        let shards = Shards::new(SHARDS * 4);
        let known = (0..10_000).filter(|key| shards.with(key, || *key, |_| ()).is_some()).count();
        assert!((SHARDS..=SHARDS * 4).contains(&known), "{known}");
        let left = shards.forget(|value| *value % 2 == 0);
        assert!(left < known, "{left} of {known}");
        assert_eq!(shards.forget(|_| false), 0);
        assert_eq!(shards.with(&1, || 5, |value| *value), Some(5));
    }
}
