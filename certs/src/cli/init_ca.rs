//! `init-ca`: a new CA in its folder, its keys under a passphrase, its revocation lists in the database.
//!
//! Refused: to replace a CA without `--force` and without somebody at a terminal who means it.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write},
    path::PathBuf,
};

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use sqlx::Connection;

use super::{Place, answer::give, database, passphrase};
use crate::{Authority, TrustDomain, folder::FolderError, register, statement};

/// What the new CA is.
#[derive(Debug, Args)]
pub(super) struct InitCa {
    /// The first part of the SPIFFE ids in every certificate
    #[arg(long, value_name = "DOMAIN", default_value_t)]
    trust_domain: TrustDomain,
    /// Keep the CA's keys in clear, for a folder that is protected in another way
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
    /// Replace the CA that is there, which is moved aside. Every certificate it issued becomes worthless
    #[arg(long)]
    force: bool,
}

/// What `--json` answers.
#[derive(Serialize)]
struct Report {
    folder: String,
    trust_domain: String,
    keys_under_passphrase: bool,
    moved_aside: Option<String>,
    back_up: Vec<String>,
    take_offline: String,
    lists_in_database: bool,
    sql: Option<String>,
}

pub(super) async fn run(place: &Place, arguments: InitCa, out: &mut dyn Write) -> anyhow::Result<bool> {
    let dir = &place.dir;
    let replaces = match Authority::vacant(dir) {
        Err(FolderError::AuthorityExists(_)) if arguments.force => {
            confirm(place)?;
            true
        }
        vacant => {
            vacant?;
            false
        }
    };
    let passphrase = if arguments.no_passphrase { None } else { Some(passphrase::choose(place)?) };
    let mut database = database::connect(place).await?;
    let mut authority = Authority::create(arguments.trust_domain)?;
    if let Some(passphrase) = &passphrase {
        authority.lock(passphrase)?;
    }
    let save =
        || if replaces { authority.replace(dir).map(Some) } else { authority.save(dir).map(|()| None) };
    let aside = if let Some(connection) = &mut database {
        // The folder in the middle: if the database refuses, no file is written; if the folder does, no row.
        let mut transaction = connection.begin().await?;
        register::crls(&mut transaction, &authority.crls()).await?;
        let aside = save()?;
        transaction.commit().await.with_context(|| {
            format!(
                "the certificate authority is in {}, but the database did not confirm its revocation lists; \
                 the next `issue` with a database sends them again",
                dir.display()
            )
        })?;
        aside
    } else {
        save()?
    };
    let report = report(place, &authority, passphrase.is_some(), aside, database.is_some());
    give(place, out, &report, |out| describe(&report, out))?;
    Ok(true)
}

/// Has the trust domain of the old CA typed. Fails where nobody can type.
fn confirm(place: &Place) -> anyhow::Result<()> {
    let old = Authority::load(&place.dir)?;
    let domain = old.trust_domain().as_str();
    ensure!(
        io::stdin().is_terminal(),
        "replacing a certificate authority has to be confirmed by typing, and standard input is no terminal"
    );
    let mut ask = io::stderr();
    write!(
        ask,
        "{} holds the certificate authority of {domain}.\n\
         A new one makes every certificate it has issued worthless: each client and each service needs a new one.\n\
         Type the trust domain to go on: ",
        place.dir.display()
    )?;
    ask.flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    ensure!(typed.trim() == domain, "that is not {domain}; nothing was changed");
    Ok(())
}

fn report(
    place: &Place,
    authority: &Authority,
    locked: bool,
    aside: Option<PathBuf>,
    in_database: bool,
) -> Report {
    let at = |name: &str| place.dir.join(name).display().to_string();
    let sql = || authority.crls().map(statement::publishing).join("\n");
    Report {
        folder: place.dir.display().to_string(),
        trust_domain: authority.trust_domain().to_string(),
        keys_under_passphrase: locked,
        moved_aside: aside.map(|path| path.display().to_string()),
        back_up: ["ca.key", "clients-ca.key", "services-ca.key", "*.crt", "ca.toml", "crl/", "issued/"]
            .map(at)
            .to_vec(),
        take_offline: at("ca.key"),
        lists_in_database: in_database,
        sql: (!in_database).then(sql),
    }
}

fn describe(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let dir = &report.folder;
    writeln!(
        out,
        "a new certificate authority is in {dir}, trust domain {}\n  \
           {dir}/ca.crt           the root: what clients pass to --cacert\n  \
           {dir}/clients-ca.crt   issues to clients: what the proxy trusts\n  \
           {dir}/services-ca.crt  issues to services: what the main server trusts\n  \
           {dir}/crl/             revocation lists, empty\n  \
           {dir}/issued/          every certificate that will be issued",
        report.trust_domain
    )?;
    if let Some(aside) = &report.moved_aside {
        writeln!(out, "the old one is in {aside}, whole")?;
    }
    writeln!(out, "back up now, to an encrypted place: {}", report.back_up.join(" "))?;
    if report.keys_under_passphrase {
        writeln!(out, "and the passphrase, in another place: without it the keys are worthless to you too")?;
    }
    writeln!(
        out,
        "then move {} offline: only a new CA and the root's yearly list need it",
        report.take_offline
    )?;
    match &report.sql {
        None => writeln!(out, "the revocation lists are in the database")?,
        Some(sql) => writeln!(
            out,
            "\nthe revocation lists are not in a database yet; `issue` with --database-url sends them, or psql:\n\n{sql}"
        )?,
    }
    Ok(())
}
