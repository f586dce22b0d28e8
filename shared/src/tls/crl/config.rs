//! The table `[crl]`: further sources of lists, and what holds when a list is late or missing.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use crate::config::{Source, Span};

/// The table `[crl]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrlConfig {
    /// PEM: CAs that are not in the door's trust bundle and whose lists count all the same: a root, whose list
    /// revokes issuing CAs, and CAs that stand between a trusted root and its leaves.
    pub authorities: Option<PathBuf>,
    /// Files and directories (`*.pem`, `*.crl`, `*.der`), beside the table `crls`.
    pub files: Vec<PathBuf>,
    /// `https://` distribution points.
    pub urls: Vec<Url>,
    /// PEM: the CAs whose certificates are believed at these.
    pub urls_ca: PathBuf,
    /// How often they and the files are looked at; inotify and SIGHUP only hurry it.
    pub poll: Span,
    /// What holds when a list is past its next update.
    pub policy: Overdue,
    /// How long, with the policy `grace`, a list is still good past its next update, and a CA without any list is
    /// waited for since it was first met here.
    pub grace: Span,
    /// What holds for a CA that has no list.
    pub missing: Missing,
}

/// What holds for the certificates of a CA whose list is past its next update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overdue {
    /// They are admitted for a while yet, then refused.
    Grace,
    /// They are refused at once.
    Reject,
    /// They are admitted; the log and a metric say so.
    Warn,
}

/// What holds for the certificates of a CA that has no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// They are admitted for a while since this process first met the CA, then refused.
    Grace,
    /// They are refused at once.
    Reject,
    /// They are admitted; the log and a metric say so. CAs of others may publish no list.
    Warn,
}

impl Overdue {
    /// As it is written in the configuration.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Grace => "grace",
            Self::Reject => "reject",
            Self::Warn => "warn",
        }
    }
}

impl Missing {
    /// As it is written in the configuration.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Grace => "grace",
            Self::Reject => "reject",
            Self::Warn => "warn",
        }
    }
}

impl Default for CrlConfig {
    fn default() -> Self {
        Self {
            authorities: None,
            files: Vec::new(),
            urls: Vec::new(),
            urls_ca: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            poll: Span::seconds(60),
            policy: Overdue::Grace,
            grace: Span::seconds(24 * 3600),
            missing: Missing::Grace,
        }
    }
}

impl CrlConfig {
    /// Resolves its paths against the configuration file and records its faults.
    pub fn check(&mut self, source: &mut Source) {
        let paths = self.authorities.iter_mut().chain(&mut self.files);
        for path in paths.chain([&mut self.urls_ca]) {
            *path = source.resolve(path);
        }
        for url in self.urls.iter().filter(|url| url.scheme() != "https") {
            source.fault("crl.urls", format!("{url}: must be https://"));
        }
        if self.poll.0.is_zero() {
            source.fault("crl.poll", "must be longer than 0s");
        }
    }
}
