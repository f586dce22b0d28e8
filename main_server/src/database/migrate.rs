//! Applying the migrations that this binary carries, and checking that they were applied.

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection, migrate::Migrator};

use super::sqlstate;

/// The error code of a table that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Brings a database to this binary's schema. Forward only; what was applied before is left alone.
pub async fn migrate(database_url: &str) -> anyhow::Result<()> {
    let mut connection =
        PgConnection::connect(database_url).await.context("cannot connect to the database")?;
    MIGRATIONS.run(&mut connection).await.context("cannot apply the migrations")?;
    // The servers check at start what was applied; sqlx makes its table before our first migration runs.
    sqlx::raw_sql("GRANT SELECT ON _sqlx_migrations TO portcullis_server").execute(&mut connection).await?;
    connection.close().await.context("the connection broke after the migrations were applied")
}

/// Refuses a schema that lacks a migration of ours. Newer ones are tolerated: old and new binaries run side
/// by side during an upgrade.
pub(super) async fn check_applied(connection: &mut PgConnection) -> anyhow::Result<()> {
    // Not checked at compile time: the table is sqlx's, not ours.
    let applied: Vec<i64> = match sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(connection)
        .await
    {
        Ok(applied) => applied,
        Err(error) if sqlstate(&error).as_deref() == Some(UNDEFINED_TABLE) => Vec::new(),
        Err(error) => return Err(error).context("cannot read which migrations are applied"),
    };
    let missing: Vec<String> = MIGRATIONS
        .iter()
        .filter(|migration| !applied.contains(&migration.version))
        .map(|migration| format!("{:04} {}", migration.version, migration.description))
        .collect();
    if !missing.is_empty() {
        bail!("the database lacks migrations ({}): run `portcullis-server migrate`", missing.join(", "));
    }
    Ok(())
}
