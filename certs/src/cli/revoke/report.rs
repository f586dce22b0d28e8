//! What `revoke` did, for people and for machines.

use std::io::Write;

use serde::Serialize;

use super::Revocation;
use crate::{Ca, register::Revoked};

/// What was done.
pub(super) struct Done {
    pub(super) title: String,
    pub(super) revoked: Option<Revoked>,
    pub(super) listed: Vec<String>,
    pub(super) list: Option<(Ca, u64)>,
    /// What is left to do with `psql`.
    pub(super) sql: Option<String>,
}

/// What `--json` answers.
#[derive(Serialize)]
pub(super) struct Report {
    revoked: String,
    reason: String,
    /// `revoked`, `revoked before`, `not registered` or `not asked`.
    database: &'static str,
    /// Serial numbers that were put on the list now.
    serials: Vec<String>,
    list: Option<ListReport>,
    pub(super) in_force_on: Option<Vec<String>>,
}

#[derive(Serialize)]
struct ListReport {
    issuer: &'static str,
    number: u64,
}

impl Done {
    pub(super) fn report(&self, revocation: &Revocation) -> Report {
        let database = match &self.revoked {
            Some(revoked) if revoked.before => "revoked before",
            Some(_) => "revoked",
            None if self.sql.is_some() => "not asked",
            None => "not registered",
        };
        Report {
            revoked: self.title.clone(),
            reason: revocation.reason.clone(),
            database,
            serials: self.listed.clone(),
            list: self.list.map(|(ca, number)| ListReport { issuer: ca.title(), number }),
            in_force_on: None,
        }
    }

    pub(super) fn describe(&self, revocation: &Revocation, out: &mut dyn Write) -> anyhow::Result<()> {
        let (title, reason) = (&self.title, &revocation.reason);
        match &self.revoked {
            Some(revoked) if revoked.before => writeln!(out, "{title} was revoked before")?,
            Some(revoked) if revoked.whole_client => {
                let who = revoked.client_id.replacen('/', " ", 1);
                let kind = if who == revoked.client_id { "client " } else { "" };
                writeln!(out, "{kind}{who} is revoked ({reason}), with every certificate it has")?;
            }
            Some(revoked) => writeln!(
                out,
                "a former certificate of client {} is revoked ({reason}); the client is not",
                revoked.client_id
            )?,
            None if self.sql.is_some() => writeln!(out, "{title} is on the revocation list ({reason})")?,
            None => writeln!(
                out,
                "{title} is not registered in the database; its certificates are revoked ({reason})"
            )?,
        }
        if let Some((ca, number)) = self.list {
            writeln!(
                out,
                "list {number} of the {ca} has {} more: {}",
                self.listed.len(),
                self.listed.join(", ")
            )?;
        }
        if let Some(sql) = &self.sql {
            writeln!(out, "nothing is in force yet, for no database was given; with psql:\n\n{sql}")?;
        }
        Ok(())
    }
}
