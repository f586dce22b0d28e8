//! Where a list comes from.

use std::{fmt, path::PathBuf};

use url::Url;

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The table `crls` as a whole.
    Table,
    /// A row of it, by the issuer's name and key as people read them.
    Row(String),
    /// A file that the configuration names.
    File(PathBuf),
    /// A file in a directory that the configuration names.
    InDirectory(PathBuf),
    /// A distribution point that the configuration names.
    Url(Url),
}

impl Origin {
    /// As a metric's label: a closed list.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Table | Self::Row(_) => "table",
            Self::File(_) | Self::InDirectory(_) => "file",
            Self::Url(_) => "url",
        }
    }

    /// Whether lists of CAs that are not known here are expected there: the table holds those of all CAs, and a
    /// directory may.
    pub(super) fn may_be_foreign(&self) -> bool {
        matches!(self, Self::Row(_) | Self::InDirectory(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.write_str("the table crls"),
            Self::Row(issuer) => write!(f, "the table crls, {issuer}"),
            Self::File(path) | Self::InDirectory(path) => write!(f, "{}", path.display()),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}
