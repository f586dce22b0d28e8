//! A map that is read without locks and changed in small parts.
//!
//! A whole-map swap would copy a million rows for one revocation; a lock would be taken by every request.
//! Here the map is cut into shards, each swapped whole: a change copies a thousandth of it. Only the sync
//! task writes.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use shared::identity::Fingerprint;

use super::Row;

const SHARDS: usize = 1024;

type Shard = HashMap<Fingerprint, Arc<Row>>;

#[derive(Debug)]
pub(super) struct Shards(Vec<ArcSwap<Shard>>);

impl Shards {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| ArcSwap::default()).collect())
    }

    pub(super) fn get(&self, fingerprint: &Fingerprint) -> Option<Arc<Row>> {
        self.0[index(fingerprint)].load().get(fingerprint).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.load().len()).sum()
    }

    /// Removals first: a fingerprint that moved from one client to another is in both lists.
    pub(super) fn apply(&self, removed: &[Fingerprint], changed: Vec<(Fingerprint, Row)>) {
        let mut by_shard: HashMap<usize, Vec<(Fingerprint, Option<Row>)>> = HashMap::new();
        for fingerprint in removed {
            by_shard.entry(index(fingerprint)).or_default().push((*fingerprint, None));
        }
        for (fingerprint, row) in changed {
            by_shard.entry(index(&fingerprint)).or_default().push((fingerprint, Some(row)));
        }
        for (shard, changes) in by_shard {
            let mut copy = Shard::clone(&self.0[shard].load());
            for (fingerprint, row) in changes {
                match row {
                    Some(row) => copy.insert(fingerprint, Arc::new(row)),
                    None => copy.remove(&fingerprint),
                };
            }
            self.0[shard].store(Arc::new(copy));
        }
    }

    pub(super) fn replace(&self, rows: Vec<(Fingerprint, Row)>) {
        let mut shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::new()).collect();
        for (fingerprint, row) in rows {
            shards[index(&fingerprint)].insert(fingerprint, Arc::new(row));
        }
        for (slot, shard) in self.0.iter().zip(shards) {
            slot.store(Arc::new(shard));
        }
    }
}

/// The first bits of a SHA-256 spread evenly; an attacker could only choose them for certificates that a
/// trusted CA signs.
fn index(fingerprint: &Fingerprint) -> usize {
    let bytes = fingerprint.as_bytes();
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % SHARDS
}
