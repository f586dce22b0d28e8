//! One row of `services`, inserted if its name and its certificate are new.

use shared::identity::{Name, Role};
use sqlx::PgConnection;

use crate::Issued;

/// Whether the row was inserted; if not, fingerprint and status of the row that has this role and name.
pub(super) async fn insert(
    connection: &mut PgConnection,
    role: Role,
    name: &Name,
    issued: &Issued,
) -> Result<(bool, Option<(String, String)>), sqlx::Error> {
    let inserted = sqlx::query!(
        "-- certs.register_service
        INSERT INTO services (service_id, role, cert_fingerprint, status, issued_at, expires_at)
        VALUES ($1, $2, $3, 'active', $4, $5)
        ON CONFLICT DO NOTHING",
        name.as_str(),
        role.as_str(),
        issued.fingerprint().to_string(),
        issued.not_before(),
        issued.not_after(),
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok((true, None));
    }
    let existing = sqlx::query!(
        "-- certs.registered_service
        SELECT cert_fingerprint, status FROM services WHERE role = $1 AND service_id = $2",
        role.as_str(),
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok((false, existing.map(|row| (row.cert_fingerprint, row.status))))
}
