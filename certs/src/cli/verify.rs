//! `verify`: whether a holder's certificate, or one in a file, is good: one line per check, exit code 0 or 1.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, bail};
use clap::Args;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use shared::{
    identity::{Certificate, Workload},
    tls::{BundleKind, TrustBundle},
};

use super::{
    Place,
    answer::{BAD, GOOD, WARN, give, moment},
    database,
    holder::{HolderName, title},
};
use crate::{
    Authority, Leaf, PrivateKey,
    credentials::Credentials,
    folder::{Index, folder_of, serial},
    register::{self, Standing},
    verification::{Check, Outcome, checks},
};

/// What is verified.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A client's id, ROLE/NAME of a service, or a file with a certificate
    what: String,
}

/// What `--json` answers.
#[derive(Serialize)]
struct Report {
    certificate: String,
    holder: Option<String>,
    serial: String,
    fingerprint: String,
    valid: bool,
    checks: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    check: &'static str,
    outcome: &'static str,
    text: String,
}

/// A certificate with what lies beside it.
struct Subject {
    title: String,
    leaf: Leaf,
    /// `fingerprint.txt`, where there is one.
    written: Option<String>,
    holder: Option<Workload>,
}

pub(super) async fn run(place: &Place, verify: &Verify, out: &mut dyn Write) -> anyhow::Result<bool> {
    let authority = Authority::load(&place.dir)?;
    let subject = subject(place, &authority, &verify.what)?;
    let leaf = &subject.leaf;
    // a root outside its dates is no anchor; then the dates say so
    let anchor = TrustBundle::read(&place.dir.join("ca.crt"), BundleKind::AnyAuthority).ok();
    let mut found = checks(&authority, anchor.as_ref(), leaf.chain(), leaf.facts());
    found.push(fingerprint(&subject));
    found.push(key(leaf));
    found.push(match &mut database::connect(place).await? {
        None => Check::new("database", Outcome::Skip, "not asked: name it with --database-url"),
        Some(connection) => registration(&subject, &register::standings(connection).await?),
    });
    let valid = !found.iter().any(|check| check.outcome == Outcome::Fail);
    let report = Report {
        certificate: subject.title.clone(),
        holder: subject.holder.as_ref().map(super::holder::argument),
        serial: serial(leaf.facts()),
        fingerprint: leaf.fingerprint().to_string(),
        valid,
        checks: found.iter().map(line).collect(),
    };
    give(place, out, &report, |out| describe(&report, &found, out))?;
    Ok(valid)
}

/// A holder's certificate in its folder or, where that is gone, its latest in the index; else the file of that name.
fn subject(place: &Place, authority: &Authority, what: &str) -> anyhow::Result<Subject> {
    if let Ok(HolderName(holder)) = what.parse() {
        let folder = folder_of(&place.dir, &holder);
        if let Some(issued) = crate::Issued::load(&place.dir, &holder)? {
            let written = fs::read_to_string(folder.join("fingerprint.txt")).ok();
            return Ok(Subject { title: title(&holder), leaf: issued.leaf, written, holder: Some(holder) });
        }
        if let Some(known) = Index::read(&place.dir, authority)?.of(&holder).last() {
            let leaf = Leaf::from_pem(known.pem.clone(), PrivateKey::elsewhere())?;
            return Ok(Subject { title: title(&holder), leaf, written: None, holder: Some(holder) });
        }
    }
    let file = Path::new(what);
    if !file.exists() {
        bail!("{what} is neither a holder of a certificate in {} nor a file", place.dir.display());
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read {what}"))?;
    let pem = match String::from_utf8(bytes) {
        Ok(pem) => pem,
        Err(der) => pkcs8::der::pem::encode_string("CERTIFICATE", pkcs8::LineEnding::LF, der.as_bytes())?,
    };
    let leaf =
        Leaf::from_pem(pem, PrivateKey::elsewhere()).with_context(|| format!("no certificate in {what}"))?;
    let holder = leaf.facts().spiffe.as_ref().map(|id| id.workload.clone());
    Ok(Subject { title: what.to_owned(), leaf, written: None, holder })
}

fn fingerprint(subject: &Subject) -> Check {
    let own = subject.leaf.fingerprint().to_string();
    let check = |outcome, text| Check::new("fingerprint", outcome, text);
    match &subject.written {
        Some(written) if written.trim().rsplit('=').next().unwrap_or_default().replace(':', "") != own => {
            check(Outcome::Fail, format!("fingerprint.txt is of another certificate; this one's is {own}"))
        }
        _ => check(Outcome::Pass, own),
    }
}

fn key(leaf: &Leaf) -> Check {
    let check = |outcome, text: &str| Check::new("key", outcome, text);
    if !leaf.key().is_here() {
        return check(Outcome::Skip, "not here: its holder keeps it");
    }
    if leaf.key().is_encrypted() {
        return check(Outcome::Skip, "under a passphrase: not compared");
    }
    let chain: Vec<CertificateDer<'static>> = leaf.chain().to_vec();
    let matches = leaf.key().der().is_ok_and(|key| Credentials { chain, key }.certified().is_ok());
    if matches {
        check(Outcome::Pass, "the private key belongs to the certificate")
    } else {
        check(Outcome::Fail, "the private key does not belong to the certificate")
    }
}

fn registration(subject: &Subject, rows: &[Standing]) -> Check {
    let check = |outcome, text: String| Check::new("database", outcome, text);
    let facts: &Certificate = subject.leaf.facts();
    let Some(row) = rows.iter().find(|row| row.fingerprint == facts.fingerprint) else {
        return check(Outcome::Fail, "not registered: nobody is let in with it".to_owned());
    };
    if row.admits() && subject.holder.is_some() && row.holder != subject.holder {
        let whose = row.holder.as_ref().map_or_else(|| "nobody".to_owned(), title);
        return check(Outcome::Fail, format!("registered as another's: {whose}"));
    }
    match (row.status.as_str(), row.admits()) {
        (_, true) => check(Outcome::Pass, "registered and active".to_owned()),
        ("active", false) => {
            check(Outcome::Fail, format!("its registration ended at {}", moment(row.expires_at)))
        }
        (status, false) => check(Outcome::Fail, format!("registered as {status}")),
    }
}

fn line(check: &Check) -> Line {
    let outcome = match check.outcome {
        Outcome::Pass => "pass",
        Outcome::Warn => "warn",
        Outcome::Fail => "fail",
        Outcome::Skip => "skip",
    };
    Line { check: check.name, outcome, text: check.text.clone() }
}

fn describe(report: &Report, found: &[Check], out: &mut dyn Write) -> anyhow::Result<()> {
    let (style, word, verdict) =
        if report.valid { (GOOD, "PASS", "is VALID") } else { (BAD, "FAIL", "is INVALID") };
    writeln!(out, "{style}[{word}]{style:#} {}: the certificate {verdict}", report.certificate)?;
    for check in found {
        let (style, sign) = match check.outcome {
            Outcome::Pass => (GOOD, "✓"),
            Outcome::Warn => (WARN, "!"),
            Outcome::Fail => (BAD, "✗"),
            Outcome::Skip => (WARN, "-"),
        };
        writeln!(out, "  {style}[{sign}]{style:#} {:11} {}", check.name, check.text)?;
    }
    Ok(())
}
