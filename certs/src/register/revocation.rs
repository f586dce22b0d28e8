//! Revoking in the database, and seeing it come into force.
//!
//! In: a client or a certificate, and why. Out: whose certificates stop, and the transaction that did it. A
//! proxy that has applied a snapshot in which that transaction is visible admits none of them any more.

use sqlx::{Connection as _, PgConnection};

use super::RegisterError;

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The client; of a service, `ROLE/NAME`.
    pub client_id: String,
    /// All its certificates; else only a former one that was named.
    pub whole_client: bool,
    /// It was revoked before this.
    pub before: bool,
    /// A transaction from which on it is revoked.
    pub(super) xid: String,
}

/// How far a revocation has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Proxies in which it is in force.
    pub in_force: Vec<String>,
    /// Those in which it may not be, each with what is known of it.
    pub lagging: Vec<String>,
}

/// Revokes a client with every certificate it has. `None`: there is no such client.
pub async fn revoke_client(
    connection: &mut PgConnection,
    client_id: &str,
    reason: &str,
    comment: Option<&str>,
) -> Result<Option<Revoked>, RegisterError> {
    let mut transaction = connection.begin().await?;
    let updated = sqlx::query!(
        "-- certs.revoke_client
        UPDATE clients SET status = 'revoked', reason_code = $2, revocation_reason = coalesce($3, revocation_reason)
        WHERE client_id = $1 AND status <> 'revoked'",
        client_id,
        reason,
        comment,
    )
    .execute(&mut *transaction)
    .await?;
    let before = updated.rows_affected() == 0;
    let found = sqlx::query!(
        r#"-- certs.revoked_client
        SELECT client_id, pg_current_xact_id()::text AS "xid!" FROM clients WHERE client_id = $1"#,
        client_id,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(found.map(|row| Revoked { client_id: row.client_id, whole_client: true, before, xid: row.xid }))
}

/// Revokes a certificate: with its client if it is the client's current one, else alone. `None`: nobody has it.
pub async fn revoke_certificate(
    connection: &mut PgConnection,
    fingerprint: &str,
    reason: &str,
    comment: Option<&str>,
) -> Result<Option<Revoked>, RegisterError> {
    let mut transaction = connection.begin().await?;
    let before = sqlx::query_scalar!(
        r#"-- certs.revoked_before
        SELECT EXISTS (SELECT FROM revoked_fingerprints
                       WHERE cert_fingerprint = normalise_fingerprint($1)) AS "before!""#,
        fingerprint,
    )
    .fetch_one(&mut *transaction)
    .await?;
    let found = sqlx::query!(
        r#"-- certs.revoke_certificate
        SELECT client_id AS "client_id!", whole_client AS "whole_client!", pg_current_xact_id()::text AS "xid!"
        FROM revoke_certificate($1, $2, $3)"#,
        fingerprint,
        reason,
        comment,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(found.map(|row| Revoked {
        client_id: row.client_id,
        whole_client: row.whole_client,
        before,
        xid: row.xid,
    }))
}

impl Revoked {
    /// Asks how far it has come. Proxies that have been silent for longer than their copy may last do not count.
    pub async fn propagation(&self, connection: &mut PgConnection) -> Result<Propagation, RegisterError> {
        let proxies = sqlx::query!(
            r#"-- certs.propagation
            SELECT proxy AS "proxy!", state AS "state!",
                   -- who has loaded nothing yet admits nobody
                   coalesce(pg_visible_in_snapshot($1::text::xid8, applied), state = 'loading') AS "in_force!",
                   round(extract(epoch FROM now() - reported_at))::bigint AS "silent_for!"
            FROM proxy_sync WHERE state <> 'gone' ORDER BY proxy, instance"#,
            self.xid,
        )
        .fetch_all(connection)
        .await?;
        let mut propagation = Propagation::default();
        for proxy in proxies {
            if proxy.in_force {
                propagation.in_force.push(proxy.proxy);
            } else {
                let text =
                    format!("{} ({}, last report {} s ago)", proxy.proxy, proxy.state, proxy.silent_for);
                propagation.lagging.push(text);
            }
        }
        Ok(propagation)
    }
}
