//! Reading the table `queues`.

use shared::identity::Name;
use sqlx::PgPool;

/// Whether there is such a queue; asked when a lease finds nothing, to tell an idle queue from a typing error.
pub(super) async fn queue_exists(pool: &PgPool, queue: &Name) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- queue.exists
        SELECT EXISTS (SELECT FROM queues WHERE name = $1) AS "exists!""#,
        queue.as_str(),
    )
    .fetch_one(pool)
    .await
}
