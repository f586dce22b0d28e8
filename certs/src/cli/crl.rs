//! `crl`: what is on the revocation lists; signing them anew in time; taking in a list of somebody else's CA.
//!
//! Signing: the files first. Whatever interrupts it, the next run sends the lists that lie there, and a list that the
//! database has already changes nothing. A CA whose key is elsewhere keeps its list, and is named.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Place,
    answer::{BAD, give, moment},
    database,
    holder::argument,
    lists, passphrase,
};
use crate::{
    Authority, Ca,
    folder::{Index, Refreshed, Writing},
    hex::hex,
    name_of_reason, register, statement,
};

mod import;

/// What to do with the lists; nothing: show them.
#[derive(Debug, Args)]
pub(super) struct Crl {
    /// Sign the lists that are past half of their life anew, and send all of them; to be run daily, by a timer
    #[arg(long)]
    refresh: bool,
    /// Sign every list anew, due or not
    #[arg(long, requires = "refresh")]
    all: bool,
    /// Take in a list that was signed elsewhere (PEM or DER)
    #[arg(long, value_name = "FILE", conflicts_with = "refresh")]
    import: Option<PathBuf>,
    /// The certificate of the CA that signed it, if it is none of ours
    #[arg(long, value_name = "FILE", requires = "import")]
    issuer: Option<PathBuf>,
}

pub(super) async fn run(place: &Place, arguments: &Crl, out: &mut dyn Write) -> anyhow::Result<bool> {
    if arguments.refresh {
        refresh(place, arguments.all, out).await
    } else if let Some(file) = &arguments.import {
        import::run(place, file, arguments.issuer.as_ref(), out).await
    } else {
        show(place, out)
    }
}

/// What `--json` answers, for each list.
#[derive(Serialize)]
struct Shown {
    issuer: &'static str,
    number: u64,
    this_update: String,
    next_update: String,
    overdue: bool,
    /// Only after `--refresh`: `not due`, `signed` or `key absent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refreshed: Option<&'static str>,
    entries: Vec<ShownEntry>,
}

#[derive(Serialize)]
struct ShownEntry {
    serial: String,
    revoked_at: String,
    reason: &'static str,
    holder: Option<String>,
}

fn shown(authority: &Authority, ca: Ca, index: &Index) -> anyhow::Result<Shown> {
    let list = authority.crl(ca);
    let entry = |entry: crate::Revoked| {
        let serial = hex(&entry.serial);
        anyhow::Ok(ShownEntry {
            revoked_at: entry.revoked_at.format(&Rfc3339)?,
            reason: name_of_reason(entry.reason),
            holder: index.by_serial(&serial).map(|known| argument(&known.holder)),
            serial,
        })
    };
    Ok(Shown {
        issuer: ca.title(),
        number: list.number,
        this_update: list.this_update.format(&Rfc3339)?,
        next_update: list.next_update.format(&Rfc3339)?,
        overdue: list.next_update < OffsetDateTime::now_utc(),
        refreshed: None,
        entries: list.revoked()?.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}

fn show(place: &Place, out: &mut dyn Write) -> anyhow::Result<bool> {
    let authority = Authority::load(&place.dir)?;
    let index = Index::read(&place.dir, &authority)?;
    let lists = Ca::ALL.map(|ca| shown(&authority, ca, &index)).into_iter().collect::<Result<Vec<_>, _>>()?;
    give(place, out, &lists, |out| {
        for list in &lists {
            let Shown { issuer, number, this_update, next_update, entries, .. } = list;
            let until = if list.overdue {
                format!("{BAD}overdue since {next_update}{BAD:#}: sign it anew with crl --refresh")
            } else {
                format!("good until {next_update}")
            };
            writeln!(
                out,
                "{issuer}: number {number}, signed {this_update}, {until}, {} entries",
                entries.len()
            )?;
            for entry in entries {
                let holder = entry.holder.as_deref().unwrap_or("?");
                writeln!(out, "  {}  {}  {}  {holder}", entry.serial, entry.revoked_at, entry.reason)?;
            }
        }
        Ok(())
    })?;
    Ok(!lists.iter().any(|list| list.overdue))
}

async fn refresh(place: &Place, all: bool, out: &mut dyn Write) -> anyhow::Result<bool> {
    let writing = Writing::begin(&place.dir)?;
    let mut authority = Authority::load(&place.dir)?;
    let mut database = database::connect(place).await?;
    if let Some(connection) = &mut database {
        lists::adopt(connection, &mut authority, &writing).await?;
    }
    let due: Vec<_> = Ca::ALL.into_iter().filter(|ca| all || authority.crl_is_due(*ca)).collect();
    passphrase::unlock(place, &mut authority, &due)?;
    let outcomes = authority.refresh(&writing, all)?;
    if let Some(connection) = &mut database {
        let sent = register::crls(connection, &authority.crls()).await;
        sent.context("the lists are in their files, but the database did not take them; run this again")?;
    }
    let index = Index::read(&place.dir, &authority)?;
    let mut lists = Vec::new();
    for (ca, outcome) in outcomes {
        let refreshed = match outcome {
            Refreshed::NotDue => "not due",
            Refreshed::Signed => "signed",
            Refreshed::KeyAbsent => "key absent",
        };
        lists.push(Shown { refreshed: Some(refreshed), ..shown(&authority, ca, &index)? });
    }
    give(place, out, &lists, |out| {
        for (ca, outcome) in outcomes {
            let list = authority.crl(ca);
            let until = moment(list.next_update);
            match outcome {
                Refreshed::NotDue => writeln!(out, "{ca}: good until {until}")?,
                Refreshed::Signed => {
                    writeln!(out, "{ca}: signed anew, number {}, good until {until}", list.number)?;
                }
                Refreshed::KeyAbsent if list.next_update < OffsetDateTime::now_utc() => {
                    writeln!(
                        out,
                        "{ca}: {BAD}overdue since {until}{BAD:#}, and its key is not here: bring it"
                    )?;
                }
                Refreshed::KeyAbsent => {
                    writeln!(out, "{ca}: due, but its key is not here; its list is good until {until}")?;
                }
            }
        }
        if database.is_some() {
            writeln!(out, "the revocation lists are in the database")?;
        } else {
            writeln!(out, "\nto put them in force, with psql:\n")?;
            for list in authority.crls() {
                writeln!(out, "{}", statement::publishing(list))?;
            }
        }
        Ok(())
    })?;
    Ok(!lists.iter().any(|list| list.overdue))
}
