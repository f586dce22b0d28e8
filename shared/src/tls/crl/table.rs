//! The table `crls` as a source of lists; the process reads it, for SQL is not known here.
//!
//! In: the heads of all rows, then the lists that are wanted. Out: lists offered to the [`RevocationLists`], each
//! once for each of its numbers. After the first whole reading, a CA without a list is one that has none.

use std::{fmt, sync::Arc, time::Instant};

use super::{CrlFault, RevocationLists, list::Parsed, number::CrlNumber, show::readable, source::Origin};

/// One row of the view `crl_registry`, without its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlHead {
    /// DER of the issuer's name.
    pub issuer_name: Vec<u8>,
    /// Its key identifier.
    pub issuer_key_id: Vec<u8>,
    /// `crl_number` as text.
    pub number: String,
}

impl CrlHead {
    /// Refuses a list that is not the one its row speaks of: what is fetched, and what operators read, goes by the
    /// row.
    fn check(&self, der: &[u8]) -> Result<(), CrlFault> {
        let list = Parsed::read(der)?;
        match () {
            () if list.issuer != self.issuer_name => Err(CrlFault::Row("issuer")),
            () if list.key_id.is_some_and(|id| id != self.issuer_key_id) => {
                Err(CrlFault::Row("key of its issuer"))
            }
            () if CrlNumber::of_decimal(&self.number) != Some(list.number) => Err(CrlFault::Row("number")),
            () => Ok(()),
        }
    }
}

/// What became of a row when it was offered last.
#[derive(Debug)]
pub(super) struct Offer {
    number: String,
    at: Instant,
    outcome: Result<(), CrlFault>,
}

impl RevocationLists {
    /// Which rows of the table to fetch: those of CAs known here that are new, or that were refused a while ago.
    #[must_use]
    pub fn wanted(&self, heads: Vec<CrlHead>) -> Vec<CrlHead> {
        let mut book = self.book();
        book.reading = book.bundle;
        let crls = self.current();
        let wanted = |head: &CrlHead| {
            let offer = book.rows.get(&(head.issuer_name.clone(), head.issuer_key_id.clone()));
            crls.knows(&head.issuer_name, &head.issuer_key_id)
                && offer.is_none_or(|offer| {
                    offer.number != head.number
                        || (offer.outcome.is_err() && offer.at.elapsed() >= self.config().poll.0)
                })
        };
        heads.into_iter().filter(wanted).collect()
    }

    /// Takes the list of a row.
    pub async fn offer_row(self: &Arc<Self>, head: CrlHead, der: Vec<u8>) {
        let origin = Origin::Row(readable(&head.issuer_name));
        let outcome = match head.check(&der) {
            Ok(()) => self.offer(origin, der).await,
            Err(fault) => {
                let outcome = Err(fault);
                self.record(origin, &outcome);
                outcome
            }
        };
        if outcome.is_err() {
            self.has_unusable(&head.issuer_name, &head.issuer_key_id);
        }
        let offer = Offer { number: head.number, at: Instant::now(), outcome };
        self.book().rows.insert((head.issuer_name, head.issuer_key_id), offer);
    }

    /// A reading of the table is over; every row it asked for was offered. After the first one, a CA without a
    /// list is one that has none.
    pub fn table_read(&self, outcome: Result<(), impl fmt::Display>) {
        let outcome = outcome.map_err(|error| CrlFault::Unreadable(error.to_string()));
        self.record(Origin::Table, &outcome);
        if outcome.is_ok() && self.is_first_whole_reading() {
            self.settle();
        }
        self.note_late();
    }

    /// For the CAs that are believed now: a reading that began for an earlier bundle did not ask for the lists of
    /// all of them.
    fn is_first_whole_reading(&self) -> bool {
        let mut book = self.book();
        let first = book.reading == book.bundle && book.settled != Some(book.bundle);
        if first {
            book.settled = Some(book.bundle);
        }
        first
    }
}
