//! Rows of `services`: inserted if name and certificate are new, renewed, revoked.

use std::time::Duration;

use shared::identity::{Name, Role};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{RegisterError, Revoked};
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

/// Registers a renewed certificate; answers until when the old one goes on, if it does.
pub(super) async fn renewed(
    connection: &mut PgConnection,
    role: Role,
    name: &Name,
    issued: &Issued,
    overlap: Duration,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!(
        "-- certs.renew_service
        SELECT renew_service($1, $2, $3, $4, make_interval(secs => $5))",
        role.as_str(),
        name.as_str(),
        issued.fingerprint().to_string(),
        issued.not_after(),
        overlap.as_secs_f64(),
    )
    .fetch_one(connection)
    .await
}

/// Revokes a service with every certificate it has. `None`: there is no such service.
pub async fn revoke_service(
    connection: &mut PgConnection,
    role: Role,
    name: &Name,
    reason: &str,
    comment: Option<&str>,
) -> Result<Option<Revoked>, RegisterError> {
    let updated = sqlx::query!(
        "-- certs.revoke_service
        UPDATE services SET status = 'revoked', reason_code = $3, revocation_reason = coalesce($4, revocation_reason)
        WHERE role = $1 AND service_id = $2 AND status <> 'revoked'",
        role.as_str(),
        name.as_str(),
        reason,
        comment,
    )
    .execute(&mut *connection)
    .await?;
    let xid = sqlx::query_scalar!(
        r#"-- certs.revoked_service
        SELECT pg_current_xact_id()::text AS "xid!" FROM services WHERE role = $1 AND service_id = $2"#,
        role.as_str(),
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    let before = updated.rows_affected() == 0;
    Ok(xid.map(|xid| Revoked { client_id: format!("{role}/{name}"), whole_client: true, before, xid }))
}
