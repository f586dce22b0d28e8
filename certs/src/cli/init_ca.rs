//! `init-ca`: a new CA in its folder, its revocation lists in the database.

use std::io::Write;

use anyhow::Context;
use sqlx::Connection;

use super::{Place, database};
use crate::{Authority, TrustDomain, register, statement};

pub(super) async fn run(place: &Place, trust_domain: TrustDomain, out: &mut dyn Write) -> anyhow::Result<()> {
    let dir = place.dir.display();
    Authority::vacant(&place.dir)?;
    let mut database = database::connect(place).await?;
    let authority = Authority::create(trust_domain)?;
    if let Some(connection) = &mut database {
        // The folder in the middle: if the database refuses, no file is written; if the folder does, no row.
        let mut transaction = connection.begin().await?;
        register::crls(&mut transaction, &authority.crls()).await?;
        authority.save(&place.dir)?;
        transaction.commit().await.with_context(|| {
            format!(
                "the certificate authority is in {dir}, but the database did not confirm its revocation lists; \
                 the next `issue` with a database sends them again"
            )
        })?;
    } else {
        authority.save(&place.dir)?;
    }
    writeln!(
        out,
        "a new certificate authority is in {dir}, trust domain {}\n  \
           {dir}/ca.crt           the root: what clients pass to --cacert\n  \
           {dir}/clients-ca.crt   issues to clients: what the proxy trusts\n  \
           {dir}/services-ca.crt  issues to services: what the main server trusts\n  \
           {dir}/crl/             revocation lists, empty\n\
         back up {dir} now, then move ca.key to an offline place: issuing does not need it",
        authority.trust_domain(),
    )?;
    if database.is_some() {
        writeln!(out, "the revocation lists are in the database")?;
    } else {
        writeln!(
            out,
            "\nthe revocation lists are not in a database yet; `issue` with --database-url sends them, or psql:\n"
        )?;
        for crl in authority.crls() {
            writeln!(out, "{}", statement::publishing(crl))?;
        }
    }
    Ok(())
}
