//! What requests that are not answered yet may hold in memory: their heads, their bodies, and a fixed sum for each.
//!
//! In: a door's bound, and what each certificate has of it. Out: bytes, given back when the request has been answered.
//! Refused: bytes for a certificate that holds as many as are free, so that whoever comes later finds some.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What a request costs besides its bytes: its task, its place in HTTP/2, the layers it is in. About what was measured.
const REQUEST: usize = 8 * 1024;

/// A door's memory for requests.
#[derive(Debug)]
pub(super) struct Memory {
    all: usize,
    taken: AtomicUsize,
}

/// What the requests of one certificate hold.
pub(super) type Share = Arc<AtomicUsize>;

/// What one request holds.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    share: Share,
    bytes: AtomicUsize,
}

impl Memory {
    pub(super) fn new(all: usize) -> Self {
        Self { all, taken: AtomicUsize::new(0) }
    }

    /// Memory for a request with such a head.
    pub(super) fn hold(self: &Arc<Self>, share: &Share, bytes: usize) -> Option<Held> {
        let held = self.hold_nothing(share);
        held.grow(REQUEST + bytes).then_some(held)
    }

    /// None yet.
    pub(super) fn hold_nothing(self: &Arc<Self>, share: &Share) -> Held {
        Held { memory: self.clone(), share: share.clone(), bytes: AtomicUsize::new(0) }
    }
}

impl Held {
    /// Takes more; false if there is none. Two that ask at once may both be refused, where one could have been served.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let taken = self.memory.taken.fetch_add(bytes, Relaxed);
        let own = self.share.fetch_add(bytes, Relaxed);
        let free = self.memory.all.saturating_sub(taken);
        if own.saturating_add(bytes) > free {
            self.memory.taken.fetch_sub(bytes, Relaxed);
            self.share.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.bytes.fetch_add(bytes, Relaxed);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.memory.taken.fetch_sub(bytes, Relaxed);
        self.share.fetch_sub(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_certificate_never_takes_the_last_bytes_of_the_others_and_gives_its_own_back() {
        let memory = Arc::new(Memory::new(64 * REQUEST));
        let taken_by =
            |share: &Share| -> Vec<Held> { (0..64).map_while(|_| memory.hold(share, 0)).collect() };
        let (a, b, c) = (Share::default(), Share::default(), Share::default());
        let (of_a, of_b) = (taken_by(&a), taken_by(&b));
        assert_eq!((of_a.len(), of_b.len()), (32, 16));
        assert!(!of_b[0].grow(1));
        drop(of_a);
        assert!(of_b[0].grow(REQUEST));
        assert_eq!(taken_by(&c).len(), 24);
        drop(of_b);
        assert_eq!(memory.taken.load(Relaxed), 0);
        assert_eq!([a, b, c].map(|share| share.load(Relaxed)), [0; 3]);
    }
}
