//! The revocation lists on disk, and the log of who was put on them.

use std::{
    fmt::{self, Write as _},
    fs, io,
    path::Path,
};

use shared::identity::Workload;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{FolderError, Known, Writing, list};
use crate::{
    Authority, Ca, RevocationList,
    files::{Readers, replace},
};

const LOG: &str = "crl/revocation_log.txt";

/// What became of a CA's revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It is good for a while yet.
    NotDue,
    /// Signed anew.
    Signed,
    /// Due, but the CA's key is not here.
    KeyAbsent,
}

/// One line of the log: a certificate that was put on a list.
#[derive(Debug)]
pub struct LogEntry<'a> {
    /// The certificate.
    pub known: &'a Known,
    /// When.
    pub at: OffsetDateTime,
    /// The number of the list that has it first.
    pub number: u64,
    /// Why, by RFC 5280.
    pub reason: &'a str,
    /// Why, for people.
    pub comment: Option<&'a str>,
}

impl fmt::Display for LogEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known, at, number, reason, comment } = self;
        let at = at.format(&Rfc3339).map_err(|_| fmt::Error)?;
        let holder = match &known.holder {
            Workload::Client(name) => format!("client/{name}"),
            Workload::Service(role, name) => format!("{role}/{name}"),
        };
        let fingerprint = known.facts.fingerprint;
        write!(f, "{at} {holder} serial={} fingerprint={fingerprint} crl_number={number} ", known.serial())?;
        // a comment is one line, whatever was written
        write!(f, "reason={reason} comment={:?}", comment.unwrap_or_default())
    }
}

impl Authority {
    /// Whether a CA's list is past half of its life.
    #[must_use]
    pub fn crl_is_due(&self, ca: Ca) -> bool {
        let list = self.crl(ca);
        OffsetDateTime::now_utc() >= list.this_update + (list.next_update - list.this_update) / 2
    }

    /// Signs the lists that are past half of their life anew, or `all` of them, where the CA's key is here: the
    /// next number, the same entries. Each is in its file before the next one is signed. Answers what became of
    /// each CA's list.
    pub fn refresh_crls(&mut self, dir: &Path, all: bool) -> Result<[(Ca, Refreshed); 3], FolderError> {
        self.refresh(&Writing::begin(dir)?, all)
    }

    /// As [`Authority::refresh_crls`], by whoever is writing already.
    pub fn refresh(&mut self, writing: &Writing, all: bool) -> Result<[(Ca, Refreshed); 3], FolderError> {
        let mut outcomes = Ca::ALL.map(|ca| (ca, Refreshed::NotDue));
        for (ca, outcome) in &mut outcomes {
            if !all && !self.crl_is_due(*ca) {
                continue;
            }
            *outcome = if self.issuer(*ca).key().is_none() {
                Refreshed::KeyAbsent
            } else {
                let next = self.issuer(*ca).sign_next_crl(self.crl(*ca), []);
                let path = writing.dir().join(list(*ca));
                let next = next.map_err(|error| FolderError::Content(path, Box::new(error)))?;
                self.publish_crl(writing, *ca, next)?;
                Refreshed::Signed
            };
        }
        Ok(outcomes)
    }

    /// Puts a list into its file, if it is later than the one there.
    pub fn publish_crl(
        &mut self,
        writing: &Writing,
        ca: Ca,
        next: RevocationList,
    ) -> Result<(), FolderError> {
        if next.number > self.crl(ca).number {
            let path = writing.dir().join(list(ca));
            replace(&path, next.pem().as_bytes(), Readers::Everybody)
                .map_err(|error| FolderError::Write(path, error))?;
            self.take_crl(ca, next);
        }
        Ok(())
    }
}

/// Adds lines to the log. It is written anew and moved into its place, so that no line is ever half there.
pub(crate) fn log(writing: &Writing, entries: &[LogEntry<'_>]) -> Result<(), FolderError> {
    if entries.is_empty() {
        return Ok(());
    }
    let path = writing.dir().join(LOG);
    let mut text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(FolderError::Read(path, error)),
    };
    for entry in entries {
        let _ = writeln!(text, "{entry}"); // writing to a String cannot fail
    }
    replace(&path, text.as_bytes(), Readers::Everybody).map_err(|error| FolderError::Write(path, error))
}
