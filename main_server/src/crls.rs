//! The revocation lists of the table `crls`, read like the services table.
//!
//! In: the view `crl_registry`, looked at every `registry.poll` and when the database hints at a change. Out: the lists that are new, offered to the
//! [`RevocationLists`], which verify them. A look costs a few bytes per CA; a list is fetched when it changed.

use std::{sync::Arc, time::Duration};

use shared::{
    shutdown::Shutdown,
    tls::crl::{CrlHead, RevocationLists},
};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// A connection keeps a buffer as large as what it read last: after a list of so many bytes it is closed.
const LARGE: usize = 1 << 20;

/// Reads the lists once and keeps reading them until the soft stop. A door that opens after the first reading
/// need not refuse anybody for want of lists.
pub async fn open(
    pool: PgPool,
    lists: Arc<RevocationLists>,
    every: Duration,
    deadline: Duration,
    mut hints: watch::Receiver<()>,
    shutdown: &Shutdown,
) {
    lists.table_read(read(&pool, &lists, deadline).await);
    let stop = shutdown.clone();
    shutdown.spawn("crls.sync", async move {
        loop {
            tokio::select! {
                () = sleep(every) => {}
                Ok(()) = hints.changed() => {}
                () = stop.requested() => return,
            }
            tokio::select! {
                outcome = read(&pool, &lists, deadline) => lists.table_read(outcome),
                () = stop.requested() => return,
            }
        }
    });
}

/// Offers every list that is new.
async fn read(pool: &PgPool, lists: &Arc<RevocationLists>, deadline: Duration) -> Result<(), sqlx::Error> {
    for head in lists.wanted(within(deadline, heads(pool)).await?) {
        if let Some(der) = within(deadline, der(pool, &head)).await? {
            lists.offer_row(head, der).await;
        }
    }
    Ok(())
}

async fn within<T>(
    deadline: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(deadline, statement).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn heads(pool: &PgPool) -> Result<Vec<CrlHead>, sqlx::Error> {
    sqlx::query_as!(
        CrlHead,
        r#"-- crls.heads
        SELECT issuer_name AS "issuer_name!", issuer_key_id AS "issuer_key_id!", crl_number::text AS "number!"
        FROM crl_registry"#
    )
    .fetch_all(pool)
    .await
}

/// None if the row is of another number by now; the next look sees that.
async fn der(pool: &PgPool, head: &CrlHead) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let der = sqlx::query_scalar!(
        r#"-- crls.der
        SELECT der AS "der!" FROM crl_registry
        WHERE issuer_name = $1 AND issuer_key_id = $2 AND crl_number = $3::text::numeric"#,
        head.issuer_name,
        head.issuer_key_id,
        head.number
    )
    .fetch_optional(&mut *connection)
    .await?;
    if der.as_ref().is_some_and(|der| der.len() > LARGE) {
        connection.close().await?;
    }
    Ok(der)
}
