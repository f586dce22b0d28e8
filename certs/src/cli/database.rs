//! The database that the command line names, if it names one.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, anyhow};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use super::Place;

/// How long to wait for a database that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, or `None` where no database was given. Refuses TCP in clear.
pub(super) async fn connect(place: &Place) -> anyhow::Result<Option<PgConnection>> {
    // an empty DATABASE_URL is how scripts unset it
    let Some(url) = place.database_url.as_ref().filter(|url| !url.expose().is_empty()) else {
        return Ok(None);
    };
    url.check(false)
        .or_else(|fault| {
            if place.unsafe_plaintext_database {
                url.check(true)
            } else {
                Err(fault.replace("unsafe_plaintext_database = true", "--unsafe-plaintext-database"))
            }
        })
        .map_err(|fault| anyhow!("--database-url {fault}"))?;
    let options = PgConnectOptions::from_str(url.expose()).context("--database-url cannot be read")?;
    tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options.application_name("portcullis-certs")))
        .await
        .map_err(|_| anyhow!("the database did not answer within {} s", PATIENCE.as_secs()))?
        .map(Some)
        .context("cannot connect to the database")
}
