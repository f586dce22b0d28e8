//! One row of `clients`, inserted if its name and its certificate are new.

use shared::identity::Name;
use sqlx::PgConnection;

use crate::Issued;

/// Whether the row was inserted; if not, fingerprint and status of the row that has this name.
pub(super) async fn insert(
    connection: &mut PgConnection,
    name: &Name,
    issued: &Issued,
) -> Result<(bool, Option<(String, String)>), sqlx::Error> {
    let inserted = sqlx::query!(
        "-- certs.register_client
        INSERT INTO clients (client_id, cert_fingerprint, domain, status, issued_at, expires_at)
        VALUES ($1, $2, $3, 'active', $4, $5)
        ON CONFLICT DO NOTHING",
        name.as_str(),
        issued.fingerprint().to_string(),
        issued.domain.as_deref().unwrap_or("default"),
        issued.not_before(),
        issued.not_after(),
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok((true, None));
    }
    let existing = sqlx::query!(
        "-- certs.registered_client
        SELECT cert_fingerprint, status FROM clients WHERE client_id = $1",
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok((false, existing.map(|row| (row.cert_fingerprint, row.status))))
}
