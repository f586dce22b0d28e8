//! `renew`: a holder's new certificate, and key, in place of the old ones, in its folder and in the database.
//!
//! The old files go to `backup/`. Refused: a holder without a certificate here, one that is unknown to the
//! database, one that is revoked.

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use shared::{config::Span, identity::Workload};
use sqlx::Connection;
use time::format_description::well_known::Rfc3339;

use super::{
    Place,
    answer::{give, moment},
    database,
    holder::{HolderName, title},
    holder_files::{self, ClientFiles, describe, report},
    passphrase,
};
use crate::{
    Authority, Ca, ClientRequest, Issued, KeyKind, KeySource, ServiceRequest, folder::Writing, register,
    statement,
};

const LONGEST_OVERLAP: Duration = Duration::from_hours(90 * 24);

/// Whose certificate is renewed, and how.
#[derive(Debug, Args)]
pub(super) struct Renewal {
    /// The client's id, or ROLE/NAME of a service
    name: HolderName,
    /// Validity in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// How long the old certificate goes on beside the new one, such as 7d (at most 90d)
    #[arg(long, value_name = "TIME", default_value = "0s")]
    overlap: Span,
    /// Keep the key. Better not: a new one is what makes a renewal worth its while
    #[arg(long, conflicts_with_all = ["key", "csr"])]
    reuse_key: bool,
    /// The kind of key that is made; without it, the kind of the old one
    #[arg(long, value_name = "KIND", conflicts_with = "csr")]
    key: Option<KeyKind>,
    /// A signing request of a holder that keeps its key (PKCS#10, PEM or DER)
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    #[command(flatten)]
    files: ClientFiles,
}

pub(super) async fn run(place: &Place, renewal: &Renewal, out: &mut dyn Write) -> anyhow::Result<bool> {
    let HolderName(holder) = &renewal.name;
    // the database says so too, but only after the files were moved if its SQL is pasted
    ensure!(renewal.overlap.0 <= LONGEST_OVERLAP, "an overlap lasts between 0 and 90 days");
    let writing = Writing::begin(&place.dir)?;
    let mut authority = Authority::load(&place.dir)?;
    let old = Issued::load(&place.dir, holder)?.ok_or_else(|| {
        anyhow!(
            "{} has no certificate in {}: issue one instead. if a renewal was interrupted, its files are below \
             backup/: move them back",
            title(holder),
            place.dir.display()
        )
    })?;
    refuse_revoked(&authority, &old)?;
    let key = renewal.key_of(&old)?;
    let mut database = database::connect(place).await?;
    passphrase::unlock(place, &mut authority, &[Ca::of(holder)])?;
    let issued = renewal.issue(&authority, &old, &key)?;
    let locked = renewal.files.locked(&issued)?;
    let staged = holder_files::stage(&issued, &locked, &writing, true, &renewal.files)?;
    let sql = statement::renewing(&issued, renewal.overlap.0);
    let Some(connection) = &mut database else {
        let (folder, backup) = staged.replace()?;
        let mut report = report(&issued, &folder)?;
        report.backup = Some(backup.display().to_string());
        report.sql = Some(sql.clone());
        give(place, out, &report, |out| {
            describe(&issued, &report, out)?;
            writeln!(out, "  {}   what it had before", backup.display())?;
            writeln!(out, "the database knows nothing of it yet, for none was given; with psql:\n\n{sql}")?;
            Ok(())
        })?;
        return Ok(true);
    };
    // In the middle, as with `issue`: if the database refuses, the old files stay; if they cannot be moved, the
    // old certificate stays registered.
    let mut transaction = connection.begin().await?;
    let ends = register::renewed(&mut transaction, &issued, renewal.overlap.0).await?;
    let (folder, backup) = staged.replace()?;
    transaction.commit().await.with_context(|| {
        format!(
            "the new certificate is in {}, but the database did not confirm it; if {} is not admitted with it, \
             with psql:\n\n{sql}\n",
            folder.display(),
            title(holder),
        )
    })?;
    let mut report = report(&issued, &folder)?;
    report.backup = Some(backup.display().to_string());
    report.registered = true;
    report.old_until = ends.map(|ends| ends.format(&Rfc3339)).transpose()?;
    give(place, out, &report, |out| {
        describe(&issued, &report, out)?;
        writeln!(out, "  {}   what it had before", backup.display())?;
        match &report.old_until {
            Some(ends) => writeln!(out, "the old certificate goes on until {ends}")?,
            None => writeln!(out, "the old certificate is not admitted any more")?,
        }
        Ok(())
    })?;
    Ok(true)
}

/// Who is on the list is not renewed: a new key does not undo why.
fn refuse_revoked(authority: &Authority, old: &Issued) -> anyhow::Result<()> {
    let entries = authority.crl(Ca::of(&old.holder)).revoked()?;
    if let Some(entry) = entries.iter().find(|entry| entry.is_of(&old.facts().serial)) {
        bail!(
            "{} was revoked at {} and is not renewed: issue a certificate under another name, or move its folder away \
             and issue it anew if you are sure",
            title(&old.holder),
            moment(entry.revoked_at)
        );
    }
    Ok(())
}

impl Renewal {
    fn key_of(&self, old: &Issued) -> anyhow::Result<KeySource> {
        if let Some(file) = &self.csr {
            return holder_files::request(file);
        }
        if !self.reuse_key {
            ensure!(
                old.key().is_here() || self.key.is_some(),
                "{} keeps its own key: give its new signing request with --csr, or keep the key with --reuse-key",
                title(&old.holder)
            );
            let kind = self.key.or_else(|| KeyKind::of(&old.facts().public_key)).unwrap_or_default();
            return Ok(KeySource::New(kind));
        }
        if !old.key().is_here() {
            return Ok(KeySource::Elsewhere(old.facts().public_key.clone()));
        }
        if !old.key().is_encrypted() {
            return Ok(KeySource::Given(old.key().clone()));
        }
        let Some(passphrase) = self.files.key_passphrase()? else {
            bail!(
                "the key of {} is under a passphrase: give it with --key-passphrase-file",
                title(&old.holder)
            )
        };
        let key = old.key().decrypted(&passphrase)?;
        Ok(KeySource::Given(
            key.with_context(|| format!("the passphrase does not open the key of {}", title(&old.holder)))?,
        ))
    }

    fn issue(&self, authority: &Authority, old: &Issued, key: &KeySource) -> anyhow::Result<Issued> {
        let days = self.days;
        Ok(match &old.holder {
            Workload::Client(name) => {
                let domain = old.domain.clone().unwrap_or_else(|| ClientRequest::default().domain);
                authority.issue_client_for(name, &ClientRequest { domain, days }, key)?
            }
            Workload::Service(role, name) => {
                let request = ServiceRequest { hosts: old.hosts(), days };
                authority.issue_service_for(*role, name, &request, key)?
            }
        })
    }
}
