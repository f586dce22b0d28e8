//! What the database says of certificates: for `list` and `verify`, which compare it with the CA's own files.

use shared::identity::{Fingerprint, Workload};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::RegisterError;

/// A certificate that the database knows, as proxies and main servers judge it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Whose it is; `None` if the row names nobody that a certificate of ours could name.
    pub holder: Option<Workload>,
    /// The certificate.
    pub fingerprint: Fingerprint,
    /// `active`, `suspended`, `revoked` or `expired`.
    pub status: String,
    /// When its registration, or its overlap, ends.
    pub expires_at: OffsetDateTime,
}

impl Standing {
    /// Whether its holder is let in now.
    #[must_use]
    pub fn admits(&self) -> bool {
        self.status == "active" && self.expires_at > OffsetDateTime::now_utc()
    }
}

/// All certificates of clients and services that the database knows.
pub async fn standings(connection: &mut PgConnection) -> Result<Vec<Standing>, RegisterError> {
    let rows = sqlx::query!(
        r#"-- certs.standings
        SELECT 'client' AS "kind!", client_id AS "name!", fingerprint AS "fingerprint!", status AS "status!",
               expires_at AS "expires_at!"
        FROM client_registry
        UNION ALL
        SELECT role, service_id, fingerprint, status, expires_at FROM service_registry
        ORDER BY 1, 2"#
    )
    .fetch_all(connection)
    .await?;
    let standing = |kind: &str, name: &str, fingerprint: &str, status, expires_at| {
        let name = name.parse().ok();
        let holder = match kind {
            "client" => name.map(Workload::Client),
            role => name.zip(role.parse().ok()).map(|(name, role)| Workload::Service(role, name)),
        };
        Some(Standing { holder, fingerprint: fingerprint.parse().ok()?, status, expires_at })
    };
    let known = rows
        .into_iter()
        .filter_map(|row| standing(&row.kind, &row.name, &row.fingerprint, row.status, row.expires_at));
    Ok(known.collect())
}
