//! Taking in a list that was signed elsewhere: of somebody else's CA, or with a key of ours.
//!
//! Refused: a list that its CA did not sign, one that is not later than what is there, and one of ours that leaves
//! somebody out.

use std::{fs, io::Write, path::PathBuf};

use anyhow::{Context, bail, ensure};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use shared::identity::Certificate;
use time::format_description::well_known::Rfc3339;

use crate::{
    Authority, Ca, RevocationList,
    cli::{
        Place,
        answer::{give, moment},
        database,
    },
    folder::Writing,
    register, statement,
};

/// What `--json` answers.
#[derive(Serialize)]
struct Imported {
    number: u64,
    next_update: String,
    entries: usize,
    in_database: bool,
    sql: Option<String>,
}

pub(super) async fn run(
    place: &Place,
    file: &PathBuf,
    issuer: Option<&PathBuf>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let named = || file.display().to_string();
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", named()))?;
    let list = match String::from_utf8(bytes) {
        Ok(pem) => RevocationList::from_pem(pem),
        Err(not_text) => RevocationList::from_der(not_text.into_bytes()),
    };
    let list = list.with_context(named)?;
    let entries = list.revoked()?.len();
    let ours = if let Some(issuer) = issuer {
        let der = CertificateDer::from_pem_file(issuer)
            .with_context(|| format!("no certificate in {}", issuer.display()))?;
        list.verify(&Certificate::parse(&der)?).with_context(named)?;
        None
    } else {
        Some(check_ours(place, &list).with_context(named)?)
    };
    let mut database = database::connect(place).await?;
    if let Some(connection) = &mut database
        && !register::crl(connection, &list).await?
    {
        bail!("the database has list {} of this issuer, or a later one; nothing was changed", list.number);
    }
    if let Some((writing, mut authority, ca)) = ours {
        authority.publish_crl(&writing, ca, list.clone())?;
    }
    let report = Imported {
        number: list.number,
        next_update: list.next_update.format(&Rfc3339)?,
        entries,
        in_database: database.is_some(),
        sql: database.is_none().then(|| statement::publishing(&list)),
    };
    give(place, out, &report, |out| {
        let until = moment(list.next_update);
        writeln!(out, "list {} with {entries} entries, good until {until}", list.number)?;
        match &report.sql {
            None => writeln!(out, "it is in the database")?,
            Some(sql) => writeln!(out, "not in force yet, for no database was given; with psql:\n\n{sql}")?,
        }
        Ok(())
    })?;
    Ok(true)
}

/// A list that was signed elsewhere with a key of ours: it must follow the one that is here.
fn check_ours(place: &Place, list: &RevocationList) -> anyhow::Result<(Writing, Authority, Ca)> {
    let writing = Writing::begin(&place.dir)?;
    let authority = Authority::load(&place.dir)?;
    let ca = Ca::ALL.into_iter().find(|ca| {
        let issuer = authority.issuer(*ca).facts();
        issuer.subject == list.issuer_name && issuer.key_id.as_ref() == Some(&list.issuer_key_id)
    });
    let ca = ca.context("it is of none of the CAs here: give its CA's certificate with --issuer")?;
    list.verify(authority.issuer(ca).facts())?;
    let current = authority.crl(ca);
    ensure!(
        list.number > current.number,
        "its number {} is not above {}, the one here",
        list.number,
        current.number
    );
    let next = list.revoked()?;
    for entry in current.revoked()? {
        ensure!(
            next.iter().any(|one| one.is_of(&entry.serial)),
            "it leaves out a certificate that is revoked: sign it with every entry of the list before"
        );
    }
    Ok((writing, authority, ca))
}
