//! Revocation lists between the folder and the database: whoever signs the next one goes on from the latest, wherever
//! that is, and leaves nobody out who is on the other.

use anyhow::Context;
use sqlx::PgConnection;

use crate::{Authority, Ca, RevocationList, Revoked, folder::Writing, register};

/// The list of a CA that the database has. Within a transaction nobody else can replace it until that ends.
pub(super) async fn in_force(
    connection: &mut PgConnection,
    authority: &Authority,
    ca: Ca,
) -> anyhow::Result<Option<RevocationList>> {
    let Some(der) = register::crl_in_force(connection, authority.crl(ca)).await? else { return Ok(None) };
    let list = RevocationList::from_der(der)
        .and_then(|list| list.verify(authority.issuer(ca).facts()).map(|()| list))
        .with_context(|| format!("the list of the {ca} in the database cannot be used"))?;
    Ok(Some(list))
}

/// Signs the list that follows both the one in the folder and the one in the database, with these entries added.
pub(super) async fn sign_next(
    connection: Option<&mut PgConnection>,
    authority: &Authority,
    ca: Ca,
    entries: Vec<Revoked>,
) -> anyhow::Result<RevocationList> {
    let here = authority.crl(ca);
    let there = match connection {
        Some(connection) => in_force(connection, authority, ca).await?,
        None => None,
    };
    let (latest, other) = match &there {
        Some(there) if there.number >= here.number => (there, Some(here)),
        _ => (here, there.as_ref()),
    };
    let mut added = other.map(RevocationList::revoked).transpose()?.unwrap_or_default();
    added.extend(entries);
    Ok(authority.issuer(ca).sign_next_crl(latest, added)?)
}

/// Brings the folder's lists up to those in the database, where those are later.
pub(super) async fn adopt(
    connection: &mut PgConnection,
    authority: &mut Authority,
    writing: &Writing,
) -> anyhow::Result<()> {
    for ca in Ca::ALL {
        if let Some(list) = in_force(connection, authority, ca).await? {
            authority.publish_crl(writing, ca, list)?;
        }
    }
    Ok(())
}
