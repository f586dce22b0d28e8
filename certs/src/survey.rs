//! How every certificate stands: by the index, by the revocation lists and, where it was asked, by the database; and
//! where these disagree.

use std::collections::{HashMap, HashSet};

use shared::identity::{Certificate, Fingerprint, Workload};
use time::OffsetDateTime;

use crate::{
    Authority, Ca, MalformedCrl, Revoked,
    folder::{Index, Known, serial},
    moment::from_unix,
    register::Standing,
};

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It lets its holder in.
    Active,
    /// A renewal has put another one in its place.
    Renewed,
    /// Shut out, for now.
    Suspended,
    /// Its time is over.
    Expired,
    /// Shut out for ever.
    Revoked,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Renewed => "renewed",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// One certificate and how it stands.
#[derive(Debug)]
pub struct Surveyed {
    /// Whose it is.
    pub holder: Option<Workload>,
    /// Its serial number in hex; `None` if only the database knows it.
    pub serial: Option<String>,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// How it stands.
    pub status: Status,
    /// When it ends, or its registration does.
    pub ends: OffsetDateTime,
    /// It lies in its holder's folder.
    pub current: bool,
    /// Where index, lists and database disagree.
    pub disagreement: Option<&'static str>,
}

/// How all certificates stand. `database` is `None` where none was asked.
pub fn survey(
    authority: &Authority,
    index: &Index,
    database: Option<&[Standing]>,
) -> Result<Vec<Surveyed>, MalformedCrl> {
    let lists = Ca::ALL.map(|ca| authority.crl(ca).revoked());
    let [root, clients, services] = lists;
    let lists = [root?, clients?, services?].map(|entries| Serials::of(&entries));
    let registered = database.unwrap_or_default();
    let rows: HashMap<_, _> = registered.iter().map(|row| (row.fingerprint, row)).collect();
    let row = |known: &Known| {
        let standing = rows.get(&known.facts.fingerprint).copied();
        judge(known, lists[known.ca as usize].has(&known.facts), database.is_some(), standing)
    };
    let mut surveyed: Vec<_> = index.iter().map(row).collect();
    let known: HashSet<_> = surveyed.iter().map(|one| one.fingerprint).collect();
    surveyed.extend(registered.iter().filter(|row| !known.contains(&row.fingerprint)).map(only_registered));
    Ok(surveyed)
}

fn judge(known: &Known, listed: bool, asked: bool, standing: Option<&Standing>) -> Surveyed {
    let ends = from_unix(known.facts.validity.not_after);
    let in_database = standing.map(|row| row.status.as_str());
    let status = if listed || in_database == Some("revoked") {
        Status::Revoked
    } else if ends < OffsetDateTime::now_utc() {
        Status::Expired
    } else if !known.current {
        Status::Renewed
    } else if in_database == Some("suspended") {
        Status::Suspended
    } else {
        Status::Active
    };
    let disagreement = match standing {
        Some(row) if listed && row.status != "revoked" => {
            Some("on the list, but not revoked in the database")
        }
        Some(row) if !listed && row.status == "revoked" && status != Status::Expired => {
            Some("revoked in the database, but not on the list")
        }
        Some(row) if status == Status::Active && !row.admits() => Some("its registration has ended"),
        None if asked && status == Status::Active => Some("not registered in the database"),
        _ => None,
    };
    Surveyed {
        holder: Some(known.holder.clone()),
        serial: Some(serial(&known.facts)),
        fingerprint: known.facts.fingerprint,
        status,
        ends,
        current: known.current,
        disagreement,
    }
}

/// A row without a certificate: of another CA, or its files are lost.
fn only_registered(standing: &Standing) -> Surveyed {
    let status = match standing.status.as_str() {
        "revoked" => Status::Revoked,
        "suspended" => Status::Suspended,
        "active" if standing.admits() => Status::Active,
        _ => Status::Expired,
    };
    Surveyed {
        holder: standing.holder.clone(),
        serial: None,
        fingerprint: standing.fingerprint,
        status,
        ends: standing.expires_at,
        current: false,
        disagreement: Some("only in the database: issued elsewhere, or its files are lost"),
    }
}

/// The serial numbers of a list, to be found quickly.
struct Serials(HashSet<Vec<u8>>);

impl Serials {
    fn of(entries: &[Revoked]) -> Self {
        let significant =
            |serial: &[u8]| serial[serial.iter().take_while(|byte| **byte == 0).count()..].to_vec();
        Self(entries.iter().map(|entry| significant(&entry.serial)).collect())
    }

    fn has(&self, facts: &Certificate) -> bool {
        self.0.contains(&facts.serial)
    }
}
