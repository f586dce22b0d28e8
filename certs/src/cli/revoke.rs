//! `revoke`: a client, or one certificate, in the database; and waiting until every proxy has it in force.
//!
//! Refused: to do anything without a database, since nothing would be revoked.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use sqlx::PgConnection;

use super::{Place, Revocation, database};
use crate::register::{self, Propagation, Revoked};

/// Between two looks at what the proxies report.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

pub(super) async fn run(place: &Place, revocation: &Revocation, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(mut database) = database::connect(place).await? else {
        bail!(
            "nothing was revoked: revoking is done in the database; name it with --database-url or DATABASE_URL"
        );
    };
    let Revocation { reason, comment, .. } = revocation;
    let comment = comment.as_deref();
    let revoked = match (&revocation.name, &revocation.fingerprint) {
        (Some(name), _) => {
            let revoked = register::revoke_client(&mut database, name.as_str(), reason, comment).await?;
            let Some(revoked) = revoked else { bail!("no client {name} is registered; nothing was revoked") };
            revoked
        }
        (None, fingerprint) => {
            let fingerprint = fingerprint.as_deref().unwrap_or_default();
            let revoked = register::revoke_certificate(&mut database, fingerprint, reason, comment).await?;
            let Some(revoked) = revoked else {
                bail!("no client has the certificate {fingerprint}; nothing was revoked")
            };
            revoked
        }
    };
    let client = &revoked.client_id;
    match (revoked.before, revoked.whole_client) {
        (true, _) => writeln!(out, "client {client} was revoked before")?,
        (false, true) => {
            writeln!(out, "client {client} is revoked ({reason}), with every certificate it has")?;
        }
        (false, false) => {
            writeln!(
                out,
                "a former certificate of client {client} is revoked ({reason}); the client is not"
            )?;
        }
    }
    if revocation.wait {
        wait(&mut database, &revoked, revocation.timeout.0, out).await?;
    }
    Ok(())
}

async fn wait(
    database: &mut PgConnection,
    revoked: &Revoked,
    patience: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    out.flush()?; // what is done is said before anything is waited for
    let began = Instant::now();
    loop {
        let Propagation { in_force, lagging } = revoked.propagation(database).await?;
        if lagging.is_empty() && !in_force.is_empty() {
            let took = began.elapsed().as_millis();
            writeln!(
                out,
                "in force on all {} proxies, after {took} ms: {}",
                in_force.len(),
                in_force.join(", ")
            )?;
            return Ok(());
        }
        if began.elapsed() >= patience {
            ensure!(
                !lagging.is_empty(),
                "it is revoked, but no proxy reports, so nobody can say where it is in force: \
                 do the proxies reach a main server?"
            );
            bail!(
                "it is revoked, but after {} s not known to be in force on {} of {} proxies: {}",
                patience.as_secs(),
                lagging.len(),
                lagging.len() + in_force.len(),
                lagging.join(", ")
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
