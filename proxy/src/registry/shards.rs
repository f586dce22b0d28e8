//! A map that is read without locks and changed in small parts.
//!
//! A whole-map swap would copy a million rows for one revocation; a lock would be taken by every request.
//! Here the map is cut into shards, each swapped whole: a change copies a thousandth of it. Only the sync
//! task writes. A shard is three allocations, whatever it holds: about 100 bytes a row. Few clients have limits of
//! their own; those stand aside, and the others' rows are not larger for it.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use shared::identity::Fingerprint;
use tokio::task::yield_now;

use super::{RateOverride, Row, Status};

const SHARDS: usize = 1024;
/// Shards changed in one go; then others get their turn on this thread.
const STEP: usize = 32;

#[derive(Debug)]
pub(super) struct Shards(Vec<ArcSwap<Shard>>);

/// Rows sorted by fingerprint; their client ids stand in one text.
#[derive(Debug, Default)]
struct Shard {
    entries: Box<[Entry]>,
    names: Box<str>,
    rates: Rates,
}

/// Limits of their own, of those who have any.
type Rates = HashMap<Fingerprint, Arc<RateOverride>>;

#[derive(Debug, Clone)]
struct Entry {
    fingerprint: Fingerprint,
    domain: Arc<str>,
    status: Status,
    expires_at: i64,
    name_start: u32,
    name_length: u8,
    has_rate: bool,
}

/// A copy that is being loaded, not in use yet.
#[derive(Debug)]
pub struct Loading(Vec<Unsorted>);

#[derive(Debug, Default)]
struct Unsorted {
    entries: Vec<Entry>,
    names: String,
    rates: Rates,
}

impl Shards {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| ArcSwap::default()).collect())
    }

    pub(super) fn get(&self, fingerprint: &Fingerprint) -> Option<Row> {
        self.0[index(fingerprint)].load().get(fingerprint)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.load().entries.len()).sum()
    }

    /// Removals first: a fingerprint that moved from one client to another may be in both lists.
    pub(super) async fn apply(&self, removed: &[Fingerprint], changed: Vec<(Fingerprint, Row)>) {
        let mut by_shard: HashMap<usize, HashMap<Fingerprint, Option<Row>>> = HashMap::new();
        for fingerprint in removed {
            by_shard.entry(index(fingerprint)).or_default().insert(*fingerprint, None);
        }
        for (fingerprint, row) in changed {
            by_shard.entry(index(&fingerprint)).or_default().insert(fingerprint, Some(row));
        }
        for (done, (index, changes)) in by_shard.into_iter().enumerate() {
            if done % STEP == STEP - 1 {
                yield_now().await;
            }
            let slot = &self.0[index];
            let changed = slot.load().with(changes);
            slot.store(Arc::new(changed));
        }
    }

    pub(super) fn replace(&self, loading: Loading) {
        for (slot, shard) in self.0.iter().zip(loading.0) {
            slot.store(Arc::new(shard.finish()));
        }
    }

    /// Looks at every row, a few shards at a time.
    pub(super) async fn for_each(&self, mut look: impl FnMut(Status, i64)) {
        for (done, slot) in self.0.iter().enumerate() {
            if done % STEP == STEP - 1 {
                yield_now().await;
            }
            slot.load().entries.iter().for_each(|entry| look(entry.status, entry.expires_at));
        }
    }
}

impl Shard {
    fn get(&self, fingerprint: &Fingerprint) -> Option<Row> {
        let found = self.entries.binary_search_by(|entry| entry.fingerprint.cmp(fingerprint)).ok()?;
        let entry = &self.entries[found];
        Some(Row {
            // it was a name when it was put here
            client_id: self.name(entry).parse().ok()?,
            domain: entry.domain.clone(),
            status: entry.status,
            expires_at: entry.expires_at,
            rate: self.rate(entry).cloned(),
        })
    }

    fn rate(&self, entry: &Entry) -> Option<&Arc<RateOverride>> {
        entry.has_rate.then(|| self.rates.get(&entry.fingerprint))?
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name_start as usize;
        self.names.get(start..start + usize::from(entry.name_length)).unwrap_or_default()
    }

    fn with(&self, changes: HashMap<Fingerprint, Option<Row>>) -> Self {
        let mut copy = Unsorted {
            entries: Vec::with_capacity(self.entries.len() + changes.len()),
            names: String::with_capacity(self.names.len()),
            rates: Rates::new(),
        };
        for entry in self.entries.iter().filter(|entry| !changes.contains_key(&entry.fingerprint)) {
            copy.push(entry.clone(), self.name(entry), self.rate(entry).cloned());
        }
        for (fingerprint, row) in changes {
            if let Some(row) = row {
                copy.add(fingerprint, row);
            }
        }
        copy.finish()
    }
}

impl Unsorted {
    fn add(&mut self, fingerprint: Fingerprint, row: Row) {
        let Row { client_id, domain, status, expires_at, rate } = row;
        let (name_start, name_length, has_rate) = (0, 0, false);
        let entry = Entry { fingerprint, domain, status, expires_at, name_start, name_length, has_rate };
        self.push(entry, client_id.as_str(), rate);
    }

    fn push(&mut self, mut entry: Entry, name: &str, rate: Option<Arc<RateOverride>>) {
        entry.has_rate = rate.is_some();
        self.rates.extend(rate.map(|rate| (entry.fingerprint, rate)));
        // A name has at most 64 bytes, a shard far fewer than 64 million rows; were it otherwise, the row
        // would be without a name and admit nobody.
        if let (Ok(start), Ok(length)) = (u32::try_from(self.names.len()), u8::try_from(name.len())) {
            (entry.name_start, entry.name_length) = (start, length);
            self.names.push_str(name);
        }
        self.entries.push(entry);
    }

    fn settle(&mut self) {
        self.entries.sort_unstable_by_key(|entry| entry.fingerprint);
        self.entries.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    fn finish(mut self) -> Shard {
        if !self.entries.is_sorted_by(|one, other| one.fingerprint <= other.fingerprint) {
            self.settle();
        }
        Shard {
            entries: self.entries.into_boxed_slice(),
            names: self.names.into_boxed_str(),
            rates: self.rates,
        }
    }
}

impl Loading {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Unsorted::default()).collect())
    }

    pub(super) fn add(&mut self, fingerprint: Fingerprint, row: Row) {
        self.0[index(&fingerprint)].add(fingerprint, row);
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.entries.len()).sum()
    }

    /// Sorts, a few shards at a time.
    pub(super) async fn settle(&mut self) {
        for shards in self.0.chunks_mut(STEP) {
            shards.iter_mut().for_each(Unsorted::settle);
            yield_now().await;
        }
    }
}

impl FromIterator<(Fingerprint, Row)> for Loading {
    fn from_iter<T: IntoIterator<Item = (Fingerprint, Row)>>(rows: T) -> Self {
        let mut loading = Self::new();
        rows.into_iter().for_each(|(fingerprint, row)| loading.add(fingerprint, row));
        loading
    }
}

/// The first bits of a SHA-256 spread evenly; an attacker could only choose them for certificates that a
/// trusted CA signs.
fn index(fingerprint: &Fingerprint) -> usize {
    let bytes = fingerprint.as_bytes();
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_not_larger_for_limits_that_it_does_not_have() {
        #[expect(dead_code, reason = "only its size counts")]
        struct WithoutLimits {
            fingerprint: Fingerprint,
            domain: Arc<str>,
            status: Status,
            expires_at: i64,
            name_start: u32,
            name_length: u8,
        }
        assert_eq!(size_of::<Entry>(), size_of::<WithoutLimits>());
    }
}
