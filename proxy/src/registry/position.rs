//! How far a copy of the client table has come: the database snapshot whose changes it holds.
//!
//! Transactions commit out of order, and one that was open at the last sync may commit much later. So a
//! position is not a number but what Postgres calls a snapshot: every transaction below `xmin` had ended,
//! none from `xmax` on had, and in between those of `open` had not. What a sync must fetch is exactly what
//! was not in the last one; a transaction that stays open for hours makes it fetch nothing twice.

/// The position of one sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Another epoch than the table's: the table was truncated.
    pub(super) epoch: i64,
    /// When the server was started, in microseconds. Another one may have lost transactions of the first
    /// one's, and given their numbers to others.
    pub(super) server: i64,
    /// The highest transaction of which a tombstone was pruned.
    pub(super) pruned: u64,
    pub(super) xmin: u64,
    pub(super) xmax: u64,
    pub(super) open: Vec<u64>,
    standby: bool,
}

impl Position {
    /// Reads `xmin:xmax:open,open,…` (the manual of Postgres, §9.27.8). A standby does not know which
    /// transactions are open; there, all from `xmin` on may be.
    pub(super) fn of(epoch: i64, server: i64, pruned: u64, snapshot: &str, standby: bool) -> Option<Self> {
        let mut parts = snapshot.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let open = parts.next()?.split(',').filter(|one| !one.is_empty());
        let open = open.map(|one| one.parse().ok()).collect::<Option<_>>()?;
        Some(if standby {
            Self { epoch, server, pruned, xmin, xmax: xmin, open: Vec::new(), standby }
        } else {
            Self { epoch, server, pruned, xmin, xmax, open, standby }
        })
    }

    /// Whether everything since `before` can be told by the numbers of transactions: all of it is still there.
    pub(super) fn continues(&self, before: &Self) -> bool {
        let same = self.epoch == before.epoch && self.server == before.server;
        same && self.xmax >= before.xmax && (self.pruned < before.xmin || self.pruned_elsewhere())
    }

    /// Whether the mark came with a dump from another server: here, only what every open transaction can see is
    /// pruned, and the first time replaces the mark.
    fn pruned_elsewhere(&self) -> bool {
        !self.standby && self.pruned >= self.xmin
    }

    /// Where a fetch that comes up to here ends: rows of later transactions cannot be seen, except such as a
    /// restored dump brought from another server, which were there at the first load. A standby
    /// does not know its bound.
    pub(super) fn end(&self) -> String {
        if self.standby { u64::MAX } else { self.xmax }.to_string()
    }

    /// For a query.
    pub(super) fn open_ids(&self) -> Vec<String> {
        self.open.iter().map(u64::to_string).collect()
    }

    /// As Postgres reads it.
    pub(super) fn snapshot(&self) -> String {
        format!("{}:{}:{}", self.xmin, self.xmax, self.open_ids().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_and_written_as_postgres_does() {
        for text in ["10:20:10,14,15", "10:10:"] {
            assert_eq!(Position::of(1, 1, 0, text, false).map(|one| one.snapshot()).as_deref(), Some(text));
        }
        assert_eq!(
            Position::of(1, 1, 0, "10:20:", true).map(|one| one.snapshot()).as_deref(),
            Some("10:10:")
        );
        for bad in ["", "10", "10:x:", "10:20", "10:20:1,x"] {
            assert_eq!(Position::of(1, 1, 0, bad, false), None, "{bad}");
        }
    }

    #[test]
    fn another_epoch_another_server_a_clock_turned_back_or_what_was_pruned_begin_anew() {
        let position =
            |epoch, server, pruned, snapshot| Position::of(epoch, server, pruned, snapshot, false).unwrap();
        let before = position(1, 1, 0, "10:20:10");
        assert!(position(1, 1, 0, "20:20:").continues(&before));
        assert!(position(1, 1, 9, "20:20:").continues(&before), "it has seen all that were pruned");
        assert!(position(1, 1, 99, "20:20:").continues(&before), "that was pruned on another server");
        let of_standby = Position::of(1, 1, 99, "20:20:", true).unwrap();
        assert!(!of_standby.continues(&before), "it may be behind the server that prunes");
        for other in [
            position(2, 1, 0, "20:20:"),
            position(1, 2, 0, "20:20:"),
            position(1, 1, 0, "10:19:10"),
            position(1, 1, 10, "20:20:"),
            position(1, 1, 25, "30:30:"),
        ] {
            assert!(!other.continues(&before), "{other:?}");
        }
    }
}
