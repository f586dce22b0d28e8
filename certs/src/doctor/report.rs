//! What was found: one finding per check, as text for people and as JSON for machines.

use std::io::{self, Write};

use serde::Serialize;
use url::Url;

use crate::describe::printable;

/// The checks, in the order in which they are made. The words are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Every file that was named is there.
    FilesExist,
    /// They may be read by this user, and the key by nobody else.
    FilePermissions,
    /// They hold what they should.
    FilesReadable,
    /// The passphrase opens the key.
    Passphrase,
    /// The key is the certificate's.
    KeyMatches,
    /// The CAs of `--cacert` are CAs, and in force.
    Authorities,
    /// The certificate's path to a CA.
    Chain,
    /// The certificate is in force.
    Dates,
    /// The certificate is a client's.
    Purpose,
    /// The host has an address.
    Dns,
    /// Somebody listens.
    Tcp,
    /// Both speak a version and a cipher suite of TLS.
    TlsVersion,
    /// The server's certificate leads to a CA of `--cacert`.
    ServerTrust,
    /// The server's certificate has the name in the URL.
    ServerName,
    /// The server took the client's certificate: no alert.
    CertificateAccepted,
    /// Both clocks agree.
    Clock,
    /// What the proxy says of the client.
    Whoami,
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 17] = [
        Self::FilesExist,
        Self::FilePermissions,
        Self::FilesReadable,
        Self::Passphrase,
        Self::KeyMatches,
        Self::Authorities,
        Self::Chain,
        Self::Dates,
        Self::Purpose,
        Self::Dns,
        Self::Tcp,
        Self::TlsVersion,
        Self::ServerTrust,
        Self::ServerName,
        Self::CertificateAccepted,
        Self::Clock,
        Self::Whoami,
    ];

    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::FilesExist => "files exist",
            Self::FilePermissions => "file permissions",
            Self::FilesReadable => "files readable",
            Self::Passphrase => "passphrase",
            Self::KeyMatches => "key matches certificate",
            Self::Authorities => "CA file",
            Self::Chain => "chain to the CA",
            Self::Dates => "dates",
            Self::Purpose => "key usage",
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::TlsVersion => "TLS version",
            Self::ServerTrust => "server's CA",
            Self::ServerName => "server's name",
            Self::CertificateAccepted => "certificate accepted",
            Self::Clock => "clock",
            Self::Whoami => "whoami",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Good.
    Pass,
    /// Good today, or not certainly bad.
    Warn,
    /// A reason why the client cannot connect or send.
    Fail,
    /// Not made, because of an earlier failure or because it does not apply.
    Skip,
}

impl Outcome {
    const fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::Pass => ("[PASS] ✓", "\x1b[32m"),
            Self::Warn => ("[WARN] !", "\x1b[33m"),
            Self::Fail => ("[FAIL] ✗", "\x1b[31m"),
            Self::Skip => ("[SKIP] -", "\x1b[2m"),
        }
    }
}

/// One check with what it found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Which.
    pub check: Check,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The TLS alert that was received (RFC 8446 §6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<u8>,
    /// The `code` of the proxy's problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// All findings about one URL.
#[derive(Debug, Serialize)]
pub struct Report {
    url: String,
    ok: bool,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(url: &Url) -> Self {
        Self { url: url.to_string(), ok: true, checks: Vec::new() }
    }

    /// Whether nothing failed.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.ok
    }

    /// What was found, in order.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.checks
    }

    pub(super) fn add(
        &mut self,
        check: Check,
        outcome: Outcome,
        text: impl Into<String>,
        remedy: Option<String>,
    ) -> &mut Finding {
        self.ok &= outcome != Outcome::Fail;
        let index = self.checks.len();
        self.checks.push(Finding { check, outcome, text: text.into(), remedy, alert: None, code: None });
        &mut self.checks[index]
    }

    pub(super) fn pass(&mut self, check: Check, text: impl Into<String>) {
        self.add(check, Outcome::Pass, text, None);
    }

    pub(super) fn warn(&mut self, check: Check, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Outcome::Warn, text, Some(remedy.into()));
    }

    pub(super) fn fail(
        &mut self,
        check: Check,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Finding {
        self.add(check, Outcome::Fail, text, Some(remedy.into()))
    }

    pub(super) fn skip(&mut self, check: Check, text: impl Into<String>) {
        self.add(check, Outcome::Skip, text, None);
    }

    pub(super) fn has(&self, check: Check) -> bool {
        self.checks.iter().any(|finding| finding.check == check)
    }

    /// Puts the findings into order and says of every check that was not made why not.
    pub(super) fn complete(&mut self) {
        let failed = |finding: &&Finding| finding.outcome == Outcome::Fail;
        let failed: Vec<Check> = self.checks.iter().filter(failed).map(|finding| finding.check).collect();
        for check in Check::ALL {
            if !self.has(check) {
                let before = failed.iter().filter(|failed| **failed < check).max();
                let cause =
                    before.or(failed.iter().min()).map(|cause| format!(": see \"{}\"", cause.title()));
                self.skip(check, format!("not reached{}", cause.unwrap_or_default()));
            }
        }
        self.checks.sort_by_key(|finding| finding.check);
    }

    /// The findings for people, one per line, each problem with what to do.
    pub fn write(&self, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        for finding in &self.checks {
            let (label, paint) = finding.outcome.label();
            let (paint, plain) = if colour { (paint, "\x1b[0m") } else { ("", "") };
            writeln!(out, "{paint}{label}{plain} {}: {}", finding.check.title(), printable(&finding.text))?;
            if let Some(remedy) = &finding.remedy {
                writeln!(out, "         do this: {}", printable(remedy))?;
            }
        }
        let failed = self.checks.iter().filter(|finding| finding.outcome == Outcome::Fail).count();
        match failed {
            0 => writeln!(out, "\nno problem found: {} can be used", self.url),
            1 => writeln!(out, "\n1 problem found"),
            more => writeln!(
                out,
                "\n{more} problems found; begin with the first, it may be the cause of the others"
            ),
        }
    }

    /// The same as one JSON object.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}
