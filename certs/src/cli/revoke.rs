//! `revoke`: a holder, or one certificate, for ever.
//!
//! In: who, and why. Out: the row in the database, the audit and the issuing CA's next revocation list, in one
//! transaction; then the list in its file, and the log. Without a database: the list in its file, and the SQL that does
//! the rest. Refused: who is unknown, and who was revoked before.

use std::io::Write;

use anyhow::{Context, bail, ensure};
use clap::Args;
use shared::config::Span;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use super::{Place, answer::give, database, holder::HolderName, lists, passphrase};
use crate::{
    Authority, Ca, RevocationList, Revoked as Entry,
    folder::{Index, Known, LogEntry, Writing, log},
    reason_named,
    register::{self, Revoked},
    statement,
};

mod in_database;
mod report;
mod target;
mod wait;

use report::Done;
use target::Target;

/// Who is revoked, and why.
#[derive(Debug, Args)]
pub(super) struct Revocation {
    /// The client's id, or ROLE/NAME of a service: all its certificates are revoked
    #[arg(required_unless_present_any = ["fingerprint", "serial"])]
    name: Option<HolderName>,
    /// One certificate, in whatever way its fingerprint is written. A holder's current one stands for the holder
    #[arg(long, value_name = "SHA256", conflicts_with = "name")]
    fingerprint: Option<String>,
    /// One certificate, by its serial number in hex. A holder's current one stands for the holder
    #[arg(long, value_name = "HEX", conflicts_with_all = ["name", "fingerprint"])]
    serial: Option<String>,
    /// Why, as the refused caller is told: a name out of RFC 5280
    #[arg(long, default_value = "unspecified", value_parser = REASONS)]
    reason: String,
    /// Why, for people; the refused caller is not told
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Change the database only: for those who have no key of the CA at hand. Needs no folder either
    #[arg(long)]
    database_only: bool,
    /// Wait until every proxy that reports has it in force
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "wait")]
    timeout: Span,
}

/// RFC 5280 §5.3.1, without those that end a revocation or only delay it.
const REASONS: [&str; 8] = [
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
    "aACompromise",
];

const WITHOUT_KEY: &str =
    "nothing was revoked; --database-only needs no key, and is enough for all who read the database";

pub(super) async fn run(place: &Place, revocation: &Revocation, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mut database = database::connect(place).await?;
    ensure!(
        database.is_some() || !revocation.wait,
        "--wait needs the database: name it with --database-url; nothing was revoked"
    );
    let done = if revocation.database_only {
        let Some(connection) = &mut database else {
            bail!("--database-only needs a database: name it with --database-url or DATABASE_URL")
        };
        let target = revocation.target(None)?;
        let revoked = in_database::revoke(connection, &target, revocation).await?;
        let Some(revoked) = revoked else {
            bail!("{} is not registered; nothing was revoked", target.title())
        };
        Done { title: target.title(), revoked: Some(revoked), listed: Vec::new(), list: None, sql: None }
    } else {
        revoke(place, revocation, database.as_mut()).await?
    };
    let before = done.listed.is_empty() && done.revoked.as_ref().is_none_or(|revoked| revoked.before);
    ensure!(!before || revocation.wait, "{} was revoked before; there is nothing left to do", done.title);
    let mut report = done.report(revocation);
    if !place.json {
        done.describe(revocation, out)?;
        out.flush()?; // what is done is said before anything is waited for
    }
    if revocation.wait
        && let Some(connection) = &mut database
    {
        let Some(revoked) = &done.revoked else { bail!("nothing in the database to wait for") };
        ensure!(
            !revoked.client_id.contains('/'),
            "it is revoked; main servers read the table twice a second and report nothing that could be waited for"
        );
        let (proxies, took) = wait::wait(connection, revoked, revocation.timeout.0).await?;
        if !place.json {
            writeln!(
                out,
                "in force on all {} proxies, after {took} ms: {}",
                proxies.len(),
                proxies.join(", ")
            )?;
        }
        report.in_force_on = Some(proxies);
    }
    if place.json {
        give(place, out, &report, |_| Ok(()))?;
    }
    Ok(true)
}

async fn revoke(
    place: &Place,
    revocation: &Revocation,
    database: Option<&mut PgConnection>,
) -> anyhow::Result<Done> {
    let writing = Writing::begin(&place.dir)?;
    let mut authority = Authority::load(&place.dir)?;
    let index = Index::read(&place.dir, &authority)?;
    let target = revocation.target(Some(&index))?;
    let Some(connection) = database else {
        let certificates = unlisted(&authority, target.certificates(&index))?;
        ensure!(
            target.certificates(&index).next().is_some(),
            "no certificate of {} was issued here; nothing was revoked",
            target.title()
        );
        let list = sign(place, &mut authority, &certificates, revocation, None).await?;
        let current = target.holder().map(|holder| authority.crl(Ca::of(&holder)));
        let sql = statement::revoking(
            &target.as_revoked(),
            &revocation.reason,
            revocation.comment.as_deref(),
            list.as_ref().map(|(_, list)| list).or(current),
        );
        ensure!(
            list.is_some(),
            "{} was revoked before, or has ended. if the database does not say so yet, with psql:\n\n{sql}",
            target.title()
        );
        return finish(&writing, authority, revocation, &target, None, &certificates, list, Some(sql));
    };
    // A person may have to be asked, and no row should be locked meanwhile.
    if let Some(holder) = target.holder()
        && !unlisted(&authority, index.of(&holder))?.is_empty()
    {
        passphrase::unlock(place, &mut authority, &[Ca::of(&holder)]).context(WITHOUT_KEY)?;
    }
    // The row, its audit and the list: all or nothing. The lock on the list's row keeps others from signing the same
    // number meanwhile.
    let mut transaction = connection.begin().await?;
    let revoked = in_database::revoke(&mut transaction, &target, revocation).await?;
    let whole = revoked.as_ref().is_none_or(|revoked| revoked.whole_client);
    let known: Vec<_> = match target.holder() {
        Some(holder) if whole => index.of(&holder).collect(),
        _ => target.certificates(&index).collect(),
    };
    ensure!(
        revoked.is_some() || !known.is_empty(),
        "{} is neither registered nor was it issued here; nothing was revoked",
        target.title()
    );
    let certificates = unlisted(&authority, known.into_iter())?;
    let list = sign(place, &mut authority, &certificates, revocation, Some(&mut transaction)).await?;
    if let Some((_, list)) = &list {
        let in_force = register::crl(&mut transaction, list).await?;
        ensure!(
            in_force,
            "another list was put in force at the same moment; nothing was revoked: run this again"
        );
    }
    transaction.commit().await.context(
        "the database did not confirm; nothing is known of this revocation: look with `list`, and run this again",
    )?;
    finish(&writing, authority, revocation, &target, revoked, &certificates, list, None)
}

/// Those that are on no list yet and have not ended.
fn unlisted<'a>(
    authority: &Authority,
    certificates: impl Iterator<Item = &'a Known>,
) -> anyhow::Result<Vec<&'a Known>> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut found = Vec::new();
    for known in certificates.filter(|known| known.facts.validity.not_after >= now) {
        if !authority.crl(known.ca).revoked()?.iter().any(|entry| entry.is_of(&known.facts.serial)) {
            found.push(known);
        }
    }
    Ok(found)
}

/// The next list with these certificates, all of one CA; nothing if there are none.
async fn sign(
    place: &Place,
    authority: &mut Authority,
    certificates: &[&Known],
    revocation: &Revocation,
    connection: Option<&mut PgConnection>,
) -> anyhow::Result<Option<(Ca, RevocationList)>> {
    let Some(first) = certificates.first() else { return Ok(None) };
    passphrase::unlock(place, authority, &[first.ca]).context(WITHOUT_KEY)?;
    let reason = reason_named(&revocation.reason).context("no such reason")?;
    let revoked_at = OffsetDateTime::now_utc();
    let entries =
        certificates.iter().map(|known| Entry { serial: known.facts.serial.clone(), revoked_at, reason });
    let list =
        lists::sign_next(connection, authority, first.ca, entries.collect()).await.context(WITHOUT_KEY)?;
    Ok(Some((first.ca, list)))
}

/// The files, after the database.
#[expect(clippy::too_many_arguments, reason = "the parts of one result, at its one place")]
fn finish(
    writing: &Writing,
    mut authority: Authority,
    revocation: &Revocation,
    target: &Target,
    revoked: Option<Revoked>,
    certificates: &[&Known],
    list: Option<(Ca, RevocationList)>,
    sql: Option<String>,
) -> anyhow::Result<Done> {
    let number = list.as_ref().map(|(ca, list)| (*ca, list.number));
    if let Some((ca, list)) = list {
        let number = list.number;
        authority.publish_crl(writing, ca, list).with_context(|| {
            if sql.is_some() {
                "nothing was revoked"
            } else {
                "it is revoked in the database; `crl --refresh` brings the list into its file"
            }
        })?;
        let at = OffsetDateTime::now_utc();
        let (reason, comment) = (revocation.reason.as_str(), revocation.comment.as_deref());
        let lines: Vec<_> =
            certificates.iter().map(|known| LogEntry { known, at, number, reason, comment }).collect();
        log(writing, &lines).context("it is revoked, but the log was not written")?;
    }
    let listed = certificates.iter().map(|known| known.serial()).collect();
    Ok(Done { title: target.title(), revoked, listed, list: number, sql })
}
