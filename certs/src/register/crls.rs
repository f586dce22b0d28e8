//! One row of `crls` per issuer: replaced by a list with a higher number, and by no other.

use sqlx::PgConnection;

use crate::RevocationList;

pub(super) async fn upsert(connection: &mut PgConnection, crl: &RevocationList) -> Result<(), sqlx::Error> {
    sqlx::query!(
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
    Ok(())
}
