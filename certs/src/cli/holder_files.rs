//! What `issue` and `renew` put into a holder's folder, and what they say of it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use shared::identity::Workload;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::{
    answer::moment,
    holder::{argument, title},
};
use crate::{
    Issued, KeySource,
    credentials::Passphrase,
    folder::{Staged, Writing, serial},
    package::random_passphrase,
};

/// What a client gets beside certificate and key.
#[derive(Debug, Args)]
pub(super) struct ClientFiles {
    /// The proxy as the client calls it, for README.txt
    #[arg(long, value_name = "URL", default_value = "https://proxy.example.com:8001", value_parser = proxy_url)]
    url: Url,
    /// A file with the password for the .p12; without it a random one is made and put into NAME.p12.pass
    #[arg(long, value_name = "FILE")]
    p12_passphrase_file: Option<PathBuf>,
    /// A file with the passphrase under which NAME.key is put; without it the key is in clear, mode 0600
    #[arg(long, value_name = "FILE")]
    key_passphrase_file: Option<PathBuf>,
}

fn proxy_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() == "https" { Ok(url) } else { Err("it must begin with https://".to_owned()) }
}

/// The public key of a signing request.
pub(super) fn request(file: &Path) -> anyhow::Result<KeySource> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    KeySource::request(&bytes).with_context(|| file.display().to_string())
}

/// Writes everything beside its place.
pub(super) fn stage<'a>(
    issued: &'a Issued,
    locked: &'a Issued,
    writing: &'a Writing,
    renewal: bool,
    files: &ClientFiles,
) -> anyhow::Result<Staged<'a>> {
    let staged = if renewal { locked.stage_renewal(writing)? } else { locked.stage(writing)? };
    if !matches!(issued.holder, Workload::Client(_)) {
        return Ok(staged);
    }
    let name = issued.name();
    let (passphrase, random) = match &files.p12_passphrase_file {
        Some(file) => (Passphrase::read(file)?, false),
        None => (random_passphrase()?, true),
    };
    let bundle = issued.pkcs12(&passphrase)?;
    if let Some(bytes) = &bundle {
        staged.add(&format!("{name}.p12"), bytes, true)?;
        if random {
            staged.add(&format!("{name}.p12.pass"), format!("{}\n", passphrase.as_str()).as_bytes(), true)?;
        }
    }
    let readme = issued.readme(files.url.as_str(), bundle.is_some());
    staged.add("README.txt", readme.as_bytes(), false)?;
    Ok(staged)
}

impl ClientFiles {
    /// The certificate with its key as it is to lie on disk.
    pub(super) fn locked(&self, issued: &Issued) -> anyhow::Result<Issued> {
        let mut locked = issued.clone();
        if let Some(file) = &self.key_passphrase_file
            && issued.key().is_here()
        {
            locked.leaf.lock(&Passphrase::read(file)?)?;
        }
        Ok(locked)
    }

    /// The passphrase of a key that lies in a folder already.
    pub(super) fn key_passphrase(&self) -> anyhow::Result<Option<Passphrase>> {
        Ok(self.key_passphrase_file.as_deref().map(Passphrase::read).transpose()?)
    }
}

impl Default for ClientFiles {
    fn default() -> Self {
        let example = Url::parse("https://proxy.example.com:8001");
        #[expect(clippy::expect_used, reason = "a constant")]
        let url = example.expect("it is a URL");
        Self { url, p12_passphrase_file: None, key_passphrase_file: None }
    }
}

/// What `--json` answers.
#[derive(Serialize)]
pub(super) struct Report {
    holder: String,
    serial: String,
    fingerprint: String,
    not_before: String,
    not_after: String,
    folder: String,
    files: Vec<String>,
    /// What lay there before a renewal.
    pub(super) backup: Option<String>,
    pub(super) registered: bool,
    /// Until when a renewed certificate's predecessor goes on.
    pub(super) old_until: Option<String>,
    pub(super) sql: Option<String>,
}

pub(super) fn report(issued: &Issued, folder: &Path) -> anyhow::Result<Report> {
    let mut files = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort();
    Ok(Report {
        holder: argument(&issued.holder),
        serial: serial(issued.facts()),
        fingerprint: issued.fingerprint().to_string(),
        not_before: issued.not_before().format(&Rfc3339)?,
        not_after: issued.not_after().format(&Rfc3339)?,
        folder: folder.display().to_string(),
        files,
        backup: None,
        registered: false,
        old_until: None,
        sql: None,
    })
}

pub(super) fn describe(issued: &Issued, report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{}: a certificate valid until {}", title(&issued.holder), moment(issued.not_after()))?;
    let name = issued.name();
    let width = report.files.iter().map(String::len).max().unwrap_or(0);
    for file in &report.files {
        let ending = file.strip_prefix(name.as_str()).unwrap_or(file);
        let what = match ending {
            ".crt" => "certificate and issuing CA",
            ".key" => "private key, for its owner only",
            ".p12" => "both, for Windows and Java",
            ".p12.pass" => "password of the .p12: send it another way, then delete it here",
            "ca.crt" => "the root, for --cacert",
            "README.txt" => "how to use them",
            _ => "for the database",
        };
        writeln!(out, "  {}/{file:width$}   {what}", report.folder)?;
    }
    writeln!(out, "  {}", issued.fingerprint_line())?;
    if !issued.key().is_here() {
        writeln!(out, "  the private key stayed with its holder")?;
    }
    Ok(())
}
