//! One row of `crls` per issuer: replaced by a list with a higher number, and by no other.

use sqlx::PgConnection;

use super::RegisterError;
use crate::RevocationList;

/// Whether the list is in the table now; if not, one that is as new or newer is.
pub(super) async fn upsert(connection: &mut PgConnection, crl: &RevocationList) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "-- certs.publish_crl
        INSERT INTO crls (issuer_name, issuer_key_id, crl_number, this_update, next_update, der)
        VALUES ($1, $2, $3::text::numeric, $4, $5, $6)
        ON CONFLICT (issuer_name, issuer_key_id) DO UPDATE
        SET crl_number = excluded.crl_number, this_update = excluded.this_update,
            next_update = excluded.next_update, der = excluded.der
        WHERE crls.crl_number < excluded.crl_number",
        crl.issuer_name,
        crl.issuer_key_id,
        crl.number.to_string(),
        crl.this_update,
        crl.next_update,
        crl.der().as_ref(),
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The list (DER) of the issuer of `like` that is in the table. Within a transaction nobody else can replace it until
/// that ends.
pub async fn crl_in_force(
    connection: &mut PgConnection,
    like: &RevocationList,
) -> Result<Option<Vec<u8>>, RegisterError> {
    let der = sqlx::query_scalar!(
        "-- certs.crl_in_force
        SELECT der FROM crls WHERE issuer_name = $1 AND issuer_key_id = $2 FOR UPDATE",
        like.issuer_name,
        like.issuer_key_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(der)
}
