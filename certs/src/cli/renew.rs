//! `renew`: a client's new key and certificate in place of the old ones, in its folder and in the database.
//!
//! The old files go to `backup/`. Refused: a client without a certificate here, one that is unknown to the
//! database, one that is revoked.

use std::io::Write;

use anyhow::{Context, anyhow};
use shared::identity::Workload;
use sqlx::Connection;
use time::format_description::well_known::Rfc3339;

use super::{Place, Renewal, database, issue::describe};
use crate::{Authority, ClientRequest, Issued, folder::Writing, register, statement};

pub(super) async fn run(place: &Place, renewal: &Renewal, out: &mut dyn Write) -> anyhow::Result<()> {
    let Renewal { name, days, overlap } = renewal;
    let writing = Writing::begin(&place.dir)?;
    let authority = Authority::load(&place.dir)?;
    let holder = Workload::Client(name.clone());
    let old = Issued::load(&place.dir, &holder)?.ok_or_else(|| {
        anyhow!("client {name} has no certificate in {}: issue one instead", place.dir.display())
    })?;
    let mut database = database::connect(place).await?;
    let domain = old.domain.unwrap_or_else(|| ClientRequest::default().domain);
    let issued = authority.issue_client(name, &ClientRequest { domain, days: *days })?;
    let staged = issued.stage_renewal(&writing)?;
    let Some(connection) = &mut database else {
        let (folder, backup) = staged.replace()?;
        describe(&issued, &folder, out)?;
        writeln!(out, "  {}   what it had before", backup.display())?;
        writeln!(
            out,
            "the database knows nothing of it yet, for none was given; with psql:\n\n{}",
            statement::renewing(&issued, overlap.0)
        )?;
        return Ok(());
    };
    // In the middle, as with `issue`: if the database refuses, the old files stay; if they cannot be moved, the
    // old certificate stays registered.
    let mut transaction = connection.begin().await?;
    let ends = register::renewed(&mut transaction, &issued, overlap.0).await?;
    let (folder, backup) = staged.replace()?;
    transaction.commit().await.with_context(|| {
        format!(
            "the new certificate is in {}, but the database did not confirm it; if {name} is not admitted with it, \
             with psql:\n\n{}\n",
            folder.display(),
            statement::renewing(&issued, overlap.0)
        )
    })?;
    describe(&issued, &folder, out)?;
    writeln!(out, "  {}   what it had before", backup.display())?;
    match ends {
        Some(ends) => writeln!(out, "the old certificate goes on until {}", ends.format(&Rfc3339)?)?,
        None => writeln!(out, "the old certificate is not admitted any more")?,
    }
    Ok(())
}
