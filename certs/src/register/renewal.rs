//! A new certificate in place of the one that its holder had.

use std::time::Duration;

use shared::identity::Workload;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{RegisterError, service};
use crate::Issued;

/// Registers a renewed certificate; answers until when the old one goes on, if it does. Refuses a holder that
/// is unknown or revoked.
pub async fn renewed(
    connection: &mut PgConnection,
    issued: &Issued,
    overlap: Duration,
) -> Result<Option<OffsetDateTime>, RegisterError> {
    if let Workload::Service(role, name) = &issued.holder {
        return Ok(service::renewed(connection, *role, name, issued, overlap).await?);
    }
    let ends = sqlx::query_scalar!(
        "-- certs.renew
        SELECT renew_client($1, $2, $3, make_interval(secs => $4))",
        issued.name().as_str(),
        issued.fingerprint().to_string(),
        issued.not_after(),
        overlap.as_secs_f64(),
    )
    .fetch_one(connection)
    .await?;
    Ok(ends)
}
