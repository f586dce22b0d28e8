//! The latest message ids of the file, in bounded memory, and where in the file they begin.

use std::collections::{HashSet, VecDeque};

/// A window over the last lines of the file. What lies before it is in the file and nowhere else.
#[derive(Debug)]
pub(super) struct RecentIds {
    capacity: usize,
    /// Each line's offset and, when the line is one of ours, its message id; the oldest first.
    lines: VecDeque<(u64, Option<u128>)>,
    ids: HashSet<u128>,
}

impl RecentIds {
    /// An empty window for so many lines.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, lines: VecDeque::new(), ids: HashSet::new() }
    }

    /// Remembers a line that begins at `offset`, and forgets the oldest one when the window is full.
    pub(super) fn push(&mut self, offset: u64, id: Option<u128>) {
        if self.lines.len() >= self.capacity
            && let Some((_, Some(oldest))) = self.lines.pop_front()
        {
            self.ids.remove(&oldest);
        }
        // An id twice in one file (somebody joined two files) leaves the window when its older line does;
        // then it is looked for in the older part, and found: exact still, only slower.
        self.ids.extend(id);
        self.lines.push_back((offset, id));
    }

    /// Whether one of the last lines has this message id.
    pub(super) fn contains(&self, id: u128) -> bool {
        self.ids.contains(&id)
    }

    /// Where the window begins: the bytes of the file before it are the older part.
    pub(super) fn begins_at(&self) -> u64 {
        self.lines.front().map_or(0, |&(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_line_leaves_a_full_window() {
        let mut window = RecentIds::new(2);
        assert_eq!(window.begins_at(), 0);
        for (offset, id) in [(0, Some(1)), (10, None), (20, Some(3))] {
            window.push(offset, id);
        }
        assert!(!window.contains(1));
        assert!(window.contains(3));
        assert_eq!(window.begins_at(), 10);
    }
}
