//! Who is meant: a holder by its name, or one certificate by its serial number or fingerprint.

use anyhow::bail;
use shared::identity::{Fingerprint, Workload};

use super::Revocation;
use crate::{
    cli::holder::{HolderName, title},
    folder::{Index, Known},
    statement,
};

/// Who is meant: a holder with all certificates, or one certificate.
pub(super) enum Target {
    Holder(Workload),
    Certificate { fingerprint: String, known: Option<Box<Known>> },
}

impl Revocation {
    pub(super) fn target(&self, index: Option<&Index>) -> anyhow::Result<Target> {
        if let Some(HolderName(holder)) = &self.name {
            return Ok(Target::Holder(holder.clone()));
        }
        if let Some(serial) = &self.serial {
            let Some(known) = index.and_then(|index| index.by_serial(serial)) else {
                bail!("no certificate with the serial number {serial} was issued here; nothing was revoked")
            };
            let fingerprint = known.facts.fingerprint.to_string();
            return Ok(Target::Certificate { fingerprint, known: Some(Box::new(known.clone())) });
        }
        let pasted = self.fingerprint.clone().unwrap_or_default();
        let known = index.zip(fingerprint(&pasted)).and_then(|(index, one)| index.by_fingerprint(one));
        Ok(Target::Certificate { known: known.map(|known| Box::new(known.clone())), fingerprint: pasted })
    }
}

/// A fingerprint as `openssl` or `fingerprint.txt` writes it.
fn fingerprint(pasted: &str) -> Option<Fingerprint> {
    let digits = pasted.rsplit('=').next()?.trim().replace(':', "");
    digits.parse().ok()
}

impl Target {
    pub(super) fn title(&self) -> String {
        match self {
            Self::Holder(holder) => title(holder),
            Self::Certificate { known: Some(known), .. } => {
                format!("certificate {} of {}", known.serial(), title(&known.holder))
            }
            Self::Certificate { fingerprint, .. } => format!("the certificate {fingerprint}"),
        }
    }

    pub(super) fn holder(&self) -> Option<Workload> {
        match self {
            Self::Holder(holder) => Some(holder.clone()),
            Self::Certificate { known, .. } => known.as_ref().map(|known| known.holder.clone()),
        }
    }

    /// Which certificates are meant, as far as can be said without the database: a holder's current one stands for it.
    pub(super) fn certificates<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = &'a Known> {
        index.iter().filter(move |one| match self {
            Self::Holder(holder) => one.holder == *holder,
            Self::Certificate { known: Some(known), .. } if known.current => one.holder == known.holder,
            Self::Certificate { known: Some(known), .. } => one.facts.serial == known.facts.serial,
            Self::Certificate { known: None, .. } => false,
        })
    }

    pub(super) fn as_revoked(&self) -> statement::Target<'_> {
        match self {
            Self::Holder(holder) => statement::Target::Holder(holder),
            Self::Certificate { known: Some(known), .. } if known.current => {
                statement::Target::Holder(&known.holder)
            }
            Self::Certificate { fingerprint, .. } => statement::Target::Certificate(fingerprint),
        }
    }
}
