//! What a walk writes: calls of the functions of `migrations/0030_key_rotation.sql`, which change nothing else.

use shared::identity::Name;
use sqlx::PgPool;
use uuid::Uuid;

use super::{LEASE, LeftOver, LeftOvers, PAUSE, Walk, look::Step};

/// Says which keys this server has.
pub(super) async fn report(
    pool: &PgPool,
    server: &Name,
    current: &Name,
    keys: &[Name],
) -> Result<(), sqlx::Error> {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "-- queue.key_ring_report
        SELECT key_ring_report($1, $2, $3)",
        server.as_str(),
        current.as_str(),
        &keys,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes the walk, if there is something to do and nobody else does it.
pub(super) async fn take(
    pool: &PgPool,
    walker: Uuid,
    current: &Name,
    keys: &[Name],
) -> Result<Option<Walk>, sqlx::Error> {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let taken = sqlx::query!(
        r#"-- queue.reseal_take
        SELECT after AS "after!", left_over AS "left_over!" FROM reseal_take($1, $2, $3, $4, $5)"#,
        walker,
        current.as_str(),
        &keys,
        PAUSE.as_secs_f64(),
        LEASE.as_secs_f64(),
    )
    .fetch_optional(pool)
    .await?;
    taken
        .map(|row| {
            let left_over =
                serde_json::from_str(&row.left_over).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok(Walk { key: current.clone(), after: row.after, left_over })
        })
        .transpose()
}

/// Writes a step and moves on. False if the walk is somebody else's by now: then nothing was written.
pub(super) async fn step(pool: &PgPool, walker: Uuid, walk: &Walk, step: &Step) -> Result<bool, sqlx::Error> {
    let left_over =
        serde_json::to_string(&walk.left_over).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query_scalar!(
        r#"-- queue.reseal_step
        SELECT reseal_step($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS "held!""#,
        walker,
        LEASE.as_secs_f64(),
        walk.after,
        left_over,
        step.ended,
        &step.ids,
        &step.from,
        &step.sealed,
        &step.error_ids,
        &step.error_queues,
        &step.error_attempts,
        &step.error_from,
        &step.errors,
    )
    .fetch_one(pool)
    .await
}

/// What the last whole walk under this key left behind; `None` before its end.
pub(super) async fn left_over(pool: &PgPool, current: &Name) -> Result<Option<LeftOvers>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- queue.sealed_under
        SELECT s.key_id AS "key_id?", s.messages AS "messages?", s.errors AS "errors?"
        FROM reseal_walk w LEFT JOIN sealed_under s ON true
        WHERE w.key_id = $1 AND w.ended_at IS NOT NULL"#,
        current.as_str(),
    )
    .fetch_all(pool)
    .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let of_row = |count: Option<i64>| count.unwrap_or_default().unsigned_abs();
    let left = rows.into_iter().filter_map(|row| {
        Some((row.key_id?, LeftOver { messages: of_row(row.messages), errors: of_row(row.errors) }))
    });
    Ok(Some(left.collect()))
}
