//! The revocation lists of the stack's CAs, and how an operator revokes by list.
//!
//! In: certificates to revoke, lists that were signed elsewhere. Out: the next list of each CA, in the PKI's folder
//! and in the table `crls`.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use certs::{Authority, Issuer, RevocationList, Revoked, RevokedReason, register};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use shared::identity::Certificate;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::{Stack, pki::Pki};

/// The newest list of each CA, in the order of [`FILES`].
#[derive(Debug)]
pub(super) struct Lists {
    newest: Mutex<[RevocationList; 3]>,
    /// Held by whoever makes a list of the newest one.
    signing: Mutex<()>,
}

const FILES: [&str; 3] = ["root.pem", "revoked.pem", "services.pem"];

impl Lists {
    pub(super) fn of(authority: &Authority) -> Self {
        Self { newest: Mutex::new(authority.crls().map(Clone::clone)), signing: Mutex::new(()) }
    }

    pub(super) fn current(&self) -> [RevocationList; 3] {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Pki {
    fn issuers(&self) -> [&Issuer; 3] {
        [self.authority.root(), self.authority.clients(), self.authority.services()]
    }

    /// The holders in the PKI's folder whose certificate is on a list, as `clients/NAME` and `services/ROLE/NAME`.
    pub(super) fn holders_on_lists(&self) -> anyhow::Result<Vec<String>> {
        let lists = self.lists.current();
        if lists.iter().map(RevocationList::revoked).collect::<Result<Vec<_>, _>>()?.concat().is_empty() {
            return Ok(Vec::new());
        }
        let mut listed = Vec::new();
        for holder in self.holders()? {
            let name = holder.rsplit('/').next().unwrap_or_default();
            let file = self.folder.join(&holder).join(format!("{name}.crt"));
            let Ok(der) = CertificateDer::from_pem_file(file) else { continue };
            let certificate = Certificate::parse(&der)?;
            for (issuer, list) in self.issuers().into_iter().zip(&lists) {
                let serials = list.revoked()?.into_iter().map(|entry| entry.serial);
                if issued(issuer, &certificate)
                    && serials.into_iter().any(|one| same(&one, &certificate.serial))
                {
                    listed.push(holder.clone());
                }
            }
        }
        Ok(listed)
    }

    fn holders(&self) -> anyhow::Result<Vec<String>> {
        let mut parents = vec!["clients".to_owned()];
        parents.extend(self.folders_in("services")?);
        let folders = parents.iter().map(|parent| self.folders_in(parent)).collect::<Result<Vec<_>, _>>()?;
        Ok(folders.concat())
    }

    fn folders_in(&self, parent: &str) -> anyhow::Result<Vec<String>> {
        let entries = fs::read_dir(self.folder.join(parent))?.collect::<Result<Vec<_>, _>>()?;
        let names = entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.map(|name| format!("{parent}/{name}")).collect())
    }

    /// Writes lists into the PKI's folder and puts them into the table.
    pub(super) fn publish_lists(&self, lists: &[RevocationList]) -> anyhow::Result<()> {
        for list in lists {
            let index = self.issuers().iter().position(|issuer| {
                issuer.facts().subject == list.issuer_name
                    && issuer.facts().key_id.as_ref() == Some(&list.issuer_key_id)
            });
            let index = index.context("this list is of none of the stack's CAs")?;
            let file = self.folder.join("crl").join(FILES[index]);
            let written = file.with_extension("new");
            fs::write(&written, list.pem())
                .and_then(|()| fs::rename(&written, &file))
                .with_context(|| format!("cannot write {}", file.display()))?;
            self.lists.newest.lock().unwrap_or_else(PoisonError::into_inner)[index] = list.clone();
        }
        super::block_on(|| async {
            let mut database = PgConnection::connect(&self.owner_url).await?;
            register::crls(&mut database, &lists.iter().collect::<Vec<_>>()).await?;
            Ok(database.close().await?)
        })?
    }
}

impl Stack {
    /// Revokes a certificate (the first in this PEM file; a leaf or an issuing CA) by the next list of its issuer.
    pub fn revoke_by_crl(&self, certificate: &Path) -> anyhow::Result<()> {
        let der = CertificateDer::from_pem_file(certificate)
            .with_context(|| format!("no certificate in {}", certificate.display()))?;
        let revoked = Certificate::parse(&der)?;
        // Two at once would each leave out whom the other revokes.
        let _one_after_the_other = self.pki.lists.signing.lock().unwrap_or_else(PoisonError::into_inner);
        for (issuer, list) in self.pki.issuers().into_iter().zip(self.pki.lists.current()) {
            if issued(issuer, &revoked) {
                let revoked_at = OffsetDateTime::now_utc();
                let entry =
                    Revoked { serial: revoked.serial, revoked_at, reason: RevokedReason::KeyCompromise };
                return self.publish_crl(&issuer.sign_next_crl(&list, [entry])?);
            }
        }
        bail!("{} was issued by none of the stack's CAs", certificate.display())
    }

    /// Signs a list of the clients' CA, DER, with so many certificates on it that nobody has. Its number is so far
    /// `ahead` of the newest one's. It is given to nobody.
    pub fn sign_large_list(&self, entries: u32, ahead: u64) -> anyhow::Result<Vec<u8>> {
        let [_, current, _] = self.pki.lists.current();
        let revoked_at = OffsetDateTime::now_utc();
        let entry = |number: u32| {
            // spread like the random serial numbers of a real CA; the first byte keeps it positive
            let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let serial = [&[0x11][..], &spread.to_be_bytes()].concat();
            Revoked { serial, revoked_at, reason: RevokedReason::KeyCompromise }
        };
        let entries: Vec<_> = (0..entries).map(entry).collect();
        let issuer = self.pki.authority.clients();
        let next_update = revoked_at + (current.next_update - current.this_update);
        Ok(issuer.sign_crl(current.number + ahead, revoked_at, next_update, &entries)?.der().to_vec())
    }

    /// Puts a list of one of the stack's CAs into the table, as an operator does.
    pub fn publish_crl(&self, list: &RevocationList) -> anyhow::Result<()> {
        self.pki.publish_lists(std::slice::from_ref(list))
    }
}

fn issued(issuer: &Issuer, certificate: &Certificate) -> bool {
    issuer.facts().subject == certificate.issuer && issuer.facts().key_id == certificate.issuer_key_id
}

/// Whether two serial numbers are equal; the second has no leading zeros.
fn same(listed: &[u8], serial: &[u8]) -> bool {
    listed.strip_prefix(&[0]).unwrap_or(listed) == serial
}
