//! `issue`: a certificate in its folder and a row in the database, both or neither.

use std::{io::Write, path::Path};

use anyhow::{Context, anyhow};
use shared::identity::{Name, Role, Workload};
use sqlx::Connection;
use time::macros::format_description;

use super::{Place, database, title};
use crate::{
    Authority, ClientRequest, Issued, ServiceRequest,
    folder::{self, FolderError, Writing},
    register::{self, Registered},
    statement,
};

/// Who asks for a certificate, and what for.
pub(super) enum Request {
    Client(Name, ClientRequest),
    Service(Role, Name, ServiceRequest),
}

impl Request {
    fn holder(&self) -> Workload {
        match self {
            Self::Client(name, _) => Workload::Client(name.clone()),
            Self::Service(role, name, _) => Workload::Service(*role, name.clone()),
        }
    }
}

pub(super) async fn run(place: &Place, request: Request, out: &mut dyn Write) -> anyhow::Result<()> {
    let writing = Writing::begin(&place.dir)?;
    let authority = Authority::load(&place.dir)?;
    folder::vacant(&place.dir, &request.holder())
        .map_err(|refusal| with_remedy(refusal, place, &request.holder()))?;
    let mut database = database::connect(place).await?;
    let issued = match &request {
        Request::Client(name, choices) => authority.issue_client(name, choices)?,
        Request::Service(role, name, choices) => authority.issue_service(*role, name, choices)?,
    };
    let Some(connection) = &mut database else {
        let folder = issued.stage(&writing)?.publish()?;
        describe(&issued, &folder, out)?;
        writeln!(
            out,
            "not registered yet, for no database was given; with psql:\n\n{}",
            statement::registering(&issued)
        )?;
        return Ok(());
    };
    // The folder is moved into place in the middle: if the database refuses, nothing is left of it; if the move
    // fails, no row is. Only an unconfirmed commit leaves the folder without knowing of the row, and says so.
    let staged = issued.stage(&writing)?;
    let mut transaction = connection.begin().await?;
    register::crls(&mut transaction, &authority.crls()).await?;
    let registered = register::issued(&mut transaction, &issued).await?;
    let folder = staged.publish()?;
    transaction.commit().await.with_context(|| {
        format!(
            "the certificate is in {}, but the database did not confirm its registration; if there is no row for {}, \
             register it with psql:\n\n{}\n",
            folder.display(),
            title(&issued.holder),
            statement::registering(&issued),
        )
    })?;
    describe(&issued, &folder, out)?;
    match registered {
        Registered::Now => writeln!(out, "registered in the database as active")?,
        Registered::Before => writeln!(out, "it was registered in the database before")?,
    }
    Ok(())
}

/// Whoever lost the SQL, or was interrupted between the folder and the row, finds it here.
fn with_remedy(refusal: FolderError, place: &Place, holder: &Workload) -> anyhow::Error {
    match (&refusal, Issued::load(&place.dir, holder)) {
        (FolderError::NameTaken(_), Ok(Some(issued))) => {
            anyhow!(
                "{refusal}. if it was never registered, with psql:\n\n{}",
                statement::registering(&issued)
            )
        }
        _ => refusal.into(),
    }
}

pub(super) fn describe(issued: &Issued, folder: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let until = issued
        .not_after()
        .format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC"))
        .context("the end of the validity cannot be written")?;
    let (name, folder) = (issued.name(), folder.display());
    writeln!(out, "{}: a certificate valid until {until}", title(&issued.holder))?;
    writeln!(out, "  {folder}/{name}.crt   certificate and issuing CA")?;
    writeln!(out, "  {folder}/{name}.key   private key, for its owner only")?;
    writeln!(
        out,
        "  {folder}/ca.crt{:blank$}   the root, for --cacert",
        "",
        blank = name.as_str().len().saturating_sub(2)
    )?;
    writeln!(out, "  {}", issued.fingerprint_line())?;
    Ok(())
}
