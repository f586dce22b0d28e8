//! A CA's place: whose list it is, which list is in force there, and until when its certificates are good by it.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::Digest;
use rustls_pki_types::UnixTime;

use super::{CrlConfig, CrlFault, Missing, Overdue, entries::Entries, list::Parsed, number::CrlNumber};
use crate::identity::Certificate;

/// A CA's place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) authority: Arc<Certificate>,
    pub(super) state: State,
    /// When the CA was first met here, Unix seconds.
    pub(super) known_since: i64,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// The sources were not read yet.
    Unread,
    /// There is one, but none that could be used so far.
    Unusable,
    /// No source has one.
    Missing,
    /// This one counts.
    InForce(Arc<List>),
}

/// A list that its issuer signed, without what was signed.
#[derive(Debug)]
pub(super) struct List {
    pub(super) number: CrlNumber,
    pub(super) this_update: i64,
    pub(super) next_update: i64,
    pub(super) entries: Entries,
    pub(super) digest: Digest,
    pub(super) scope: Option<Box<[u8]>>,
}

/// How long certificates are admitted without a list that is current.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Past a list's next update.
    overdue: Duration,
    /// Without any list, since the CA was first met; none: not at all.
    missing: Option<Duration>,
}

impl Patience {
    pub(super) fn of(config: &CrlConfig) -> Self {
        let overdue = match config.policy {
            Overdue::Grace => config.grace.0,
            Overdue::Reject => Duration::ZERO,
            Overdue::Warn => Duration::MAX,
        };
        let missing = match config.missing {
            Missing::Grace => Some(config.grace.0),
            Missing::Reject => None,
            Missing::Warn => Some(Duration::MAX),
        };
        Self { overdue, missing }
    }

    /// The last second in which certificates issued at a place are not refused for want of a good list;
    /// `i64::MAX`: they never are.
    pub(super) fn good_until(self, place: &Place) -> i64 {
        match &place.state {
            State::Unread | State::Unusable => i64::MIN,
            State::Missing => self.good_without_until(place.known_since),
            State::InForce(list) => later(list.next_update, self.overdue),
        }
    }

    /// The same for a CA without a list that has been known since then.
    pub(super) fn good_without_until(self, known_since: i64) -> i64 {
        self.missing.map_or(i64::MIN, |patience| later(known_since, patience))
    }
}

impl Place {
    /// Whether its list is past its next update, or there is none though the sources were read.
    pub(super) fn is_late(&self, now: UnixTime) -> bool {
        match &self.state {
            State::Unread | State::Unusable => false,
            State::Missing => true,
            State::InForce(list) => seconds(now) > list.next_update,
        }
    }
}

impl List {
    /// Whether a list may follow this one.
    pub(super) fn check_successor(&self, next: &Parsed<'_>) -> Result<(), CrlFault> {
        if next.number < self.number {
            let (offered, in_force) = (next.number.to_string(), self.number.to_string());
            return Err(CrlFault::Lower { offered, in_force });
        }
        if next.number == self.number {
            return Err(CrlFault::SameNumber(next.number.to_string()));
        }
        if next.scope != self.scope.as_deref() {
            return Err(CrlFault::Scope);
        }
        Ok(())
    }
}

pub(super) fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn later(moment: i64, by: Duration) -> i64 {
    moment.saturating_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX))
}
