//! Where a list comes from, and what is remembered of it.

use std::{fmt, path::PathBuf, time::Instant};

use url::Url;

use super::CrlFault;

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

/// One row of the view `crl_registry`, without its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlHead {
    /// DER of the issuer's name.
    pub issuer_name: Vec<u8>,
    /// Its key identifier.
    pub issuer_key_id: Vec<u8>,
    /// `crl_number` as text.
    pub number: String,
}

/// What became of a row when it was offered last.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) number: String,
    pub(super) at: Instant,
    pub(super) outcome: Result<(), CrlFault>,
}
