//! dead → ready, dead → cancelled, and the record of who did or saw what.

use shared::identity::Name;
use sqlx::PgPool;
use uuid::Uuid;

use super::{DeadReason, Filters, Operator};

/// How many jobs were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Jobs.
    pub jobs: i64,
}

pub(super) async fn redrive(
    pool: &PgPool,
    filters: &Filters,
    per_second: Option<f64>,
    limit: u32,
    by: &Operator,
) -> Result<Moved, sqlx::Error> {
    let jobs = sqlx::query_scalar!(
        r#"-- queue.redrive
        SELECT redrive_matching($1, $2, $3, $4, $5, $6, $7, p_by => $8) AS "jobs!""#,
        filters.queue.as_ref().map(Name::as_str),
        filters.client_id.as_ref().map(Name::as_str),
        filters.since,
        filters.until,
        filters.reason.map(DeadReason::as_str),
        per_second,
        i64::from(limit),
        by.name,
    )
    .fetch_one(pool)
    .await?;
    Ok(Moved { jobs })
}

pub(super) async fn redrive_messages(
    pool: &PgPool,
    ids: &[Uuid],
    queue: Option<&Name>,
    per_second: Option<f64>,
    by: &Operator,
) -> Result<Moved, sqlx::Error> {
    let jobs = sqlx::query_scalar!(
        r#"-- queue.redrive_messages
        SELECT redrive_messages($1, $2, $3, $4) AS "jobs!""#,
        ids,
        queue.map(Name::as_str),
        per_second,
        by.name,
    )
    .fetch_one(pool)
    .await?;
    Ok(Moved { jobs })
}

pub(super) async fn discard(
    pool: &PgPool,
    filters: &Filters,
    limit: u32,
    by: &Operator,
) -> Result<Moved, sqlx::Error> {
    let jobs = sqlx::query_scalar!(
        r#"-- queue.discard
        SELECT discard_matching($1, $2, $3, $4, $5, $6, p_by => $7) AS "jobs!""#,
        filters.queue.as_ref().map(Name::as_str),
        filters.client_id.as_ref().map(Name::as_str),
        filters.since,
        filters.until,
        filters.reason.map(DeadReason::as_str),
        i64::from(limit),
        by.name,
    )
    .fetch_one(pool)
    .await?;
    Ok(Moved { jobs })
}

pub(super) async fn discard_messages(
    pool: &PgPool,
    ids: &[Uuid],
    queue: Option<&Name>,
    by: &Operator,
) -> Result<Moved, sqlx::Error> {
    let jobs = sqlx::query_scalar!(
        r#"-- queue.discard_messages
        SELECT discard_messages($1, $2, $3) AS "jobs!""#,
        ids,
        queue.map(Name::as_str),
        by.name,
    )
    .fetch_one(pool)
    .await?;
    Ok(Moved { jobs })
}

/// Puts on record who was shown what.
pub(super) async fn audit(
    pool: &PgPool,
    what: &str,
    filters: &Filters,
    by: &Operator,
    new: String,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- queue.audit_dead_letters
        INSERT INTO audit_log (what, client_id, cert_fingerprint, new) VALUES ($1, $2, $3, $4::text::jsonb)",
        what,
        filters.client_id.as_ref().map(Name::as_str),
        by.fingerprint.to_string(),
        new,
    )
    .execute(pool)
    .await?;
    Ok(())
}
