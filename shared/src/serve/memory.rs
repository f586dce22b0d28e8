//! What requests that are not answered yet may hold in memory: their heads, their bodies, and a fixed sum for each.
//!
//! In: a door's bound, and what each certificate has of it. Out: bytes, given back when the request has been answered.
//! Refused: bytes for a certificate that holds as many as are free, so that whoever comes later finds some. What a message
//! may take is set aside at once, so that a request that was let in comes to its end, whoever else comes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::progress::Progress;

/// A head is there as the frames it came in, as fields, and while it is taken apart.
const HEAD_COPIES: usize = 3;
/// Of a body, so much is set aside when its head is there, or its length if that is less; more is taken as it comes.
const SET_ASIDE: usize = 64 * 1024;
/// What a request costs besides its bytes: its task, its place in HTTP/2, the layers it is in. About what was measured.
const REQUEST: usize = 8 * 1024;

/// A door's memory for requests.
#[derive(Debug)]
pub(super) struct Memory {
    all: AtomicUsize,
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
    /// Of these, what is set aside for what will come.
    ahead: AtomicUsize,
    pub(super) progress: Progress,
}

impl Memory {
    pub(super) fn new(all: usize) -> Self {
        Self { all: all.into(), taken: AtomicUsize::new(0) }
    }

    /// Another bound, for whoever asks from now on; what is held stays held.
    pub(super) fn resize(&self, all: usize) {
        self.all.store(all, Relaxed);
    }

    /// Memory for a request with such a head, and a body of such a length, if it has one that is known.
    pub(super) fn hold(
        self: &Arc<Self>,
        share: &Share,
        of_head: usize,
        of_body: Option<u64>,
    ) -> Option<Held> {
        let body = of_body.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(SET_ASIDE).min(SET_ASIDE);
        let mut held = self.hold_nothing(share);
        *held.ahead.get_mut() = body;
        held.take(REQUEST + HEAD_COPIES * of_head + body).then_some(held)
    }

    /// None yet.
    pub(super) fn hold_nothing(self: &Arc<Self>, share: &Share) -> Held {
        Held {
            memory: self.clone(),
            share: share.clone(),
            bytes: 0.into(),
            ahead: 0.into(),
            progress: Progress::new(),
        }
    }
}

impl Held {
    /// So many bytes came; false if there is no memory for them.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let ahead = self.ahead.load(Relaxed);
        self.ahead.store(ahead.saturating_sub(bytes), Relaxed);
        bytes <= ahead || self.take(bytes - ahead)
    }

    /// Nothing is read of the body for now: gives back what is set aside for it. What comes after all is taken as it comes.
    pub(super) fn give_back_ahead(&self) {
        let bytes = self.ahead.swap(0, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
        self.memory.taken.fetch_sub(bytes, Relaxed);
        self.share.fetch_sub(bytes, Relaxed);
    }

    /// Two that ask at once may both be refused, where one could have been served.
    fn take(&self, bytes: usize) -> bool {
        let taken = self.memory.taken.fetch_add(bytes, Relaxed);
        let own = self.share.fetch_add(bytes, Relaxed);
        let free = self.memory.all.load(Relaxed).saturating_sub(taken);
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
            |share: &Share| -> Vec<Held> { (0..64).map_while(|_| memory.hold(share, 0, Some(0))).collect() };
        let (a, b, c) = (Share::default(), Share::default(), Share::default());
        let (of_a, of_b) = (taken_by(&a), taken_by(&b));
        assert_eq!((of_a.len(), of_b.len()), (32, 16));
        assert!(!of_b[0].grow(1));
        drop(of_a);
        assert!(of_b[0].grow(REQUEST));
        assert_eq!(taken_by(&c).len(), 24);
        drop(of_b);
        let request = memory.hold(&a, 100, Some(1000)).unwrap();
        assert!(request.grow(600) && request.grow(600));
        assert_eq!(memory.taken.load(Relaxed), REQUEST + 300 + 1200);
        drop(request);
        let refused = memory.hold(&a, 100, Some(1000)).unwrap();
        refused.give_back_ahead();
        assert_eq!(memory.taken.load(Relaxed), REQUEST + 300);
        assert!(refused.grow(1000));
        drop(refused);
        assert_eq!(memory.taken.load(Relaxed), 0);
        assert_eq!([a, b, c].map(|share| share.load(Relaxed)), [0; 3]);
    }
}
