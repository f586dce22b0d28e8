//! Batches that are being read or stored: so many at once, for each may fill its limit of memory.
//!
//! In: a client. Out: a place, free again when it is dropped. Refused: a client that has as many as are free, so
//! that whoever comes later finds some.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared::identity::Name;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    /// None of them is 0.
    taken: Mutex<HashMap<Name, usize>>,
}

/// One that is taken.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: Name,
}

impl Places {
    /// So many.
    pub(crate) fn new(all: usize) -> Self {
        Self { all, taken: Mutex::default() }
    }

    /// A place for a client.
    pub(super) fn take(self: &Arc<Self>, client: &Name) -> Option<Place> {
        let mut taken = self.lock();
        // few clients send batches at the same moment, and there are no more of them here than places
        let free = self.all.saturating_sub(taken.values().sum());
        let own = taken.get(client).copied().unwrap_or(0);
        if own >= free {
            return None;
        }
        taken.insert(client.clone(), own + 1);
        Some(Place { places: self.clone(), client: client.clone() })
    }

    /// No code that holds it panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let left = taken.remove(&self.client).unwrap_or(0).saturating_sub(1);
        if left > 0 {
            taken.insert(self.client.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_never_takes_the_last_place_of_the_others_and_gives_its_own_back() {
        let places = Arc::new(Places::new(8));
        let name = |text: &str| text.parse::<Name>().unwrap();
        let taken_by =
            |client: &str| -> Vec<Place> { (0..8).map_while(|_| places.take(&name(client))).collect() };
        let (a, b, c) = (taken_by("a"), taken_by("b"), taken_by("c"));
        assert_eq!([a.len(), b.len(), c.len()], [4, 2, 1]);
        drop(a);
        assert_eq!(taken_by("d").len(), 3);
        drop((b, c));
        assert_eq!(taken_by("a").len(), 4);
        assert!(places.lock().is_empty());
    }
}
