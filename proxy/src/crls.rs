//! The revocation lists of the table `crls`, read like the client table.
//!
//! In: the view `crl_registry`, looked at every `registry.poll` and when the database hints at a change. Out: the lists that are new, offered to the
//! [`RevocationLists`], which verify them. A look costs a few bytes per CA; a list is fetched when it changed.

use std::{sync::Arc, time::Duration};

use shared::{
    shutdown::Shutdown,
    tls::crl::{CrlHead, RevocationLists},
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::watch, time::timeout};

use crate::{config, registry::SyncError};

/// Why a certificate was revoked, by the words of RFC 5280 §5.3.1.
pub type ReasonCode = &'static str;

/// A connection keeps a buffer as large as what it read last: after a list of so many bytes it is closed.
const LARGE: usize = 1 << 20;

/// One connection, made when it is first needed, under this name.
pub(crate) fn lazy_pool(config: &config::Registry, name: &str) -> Result<PgPool, SyncError> {
    let options: PgConnectOptions = config.database_url.expose().parse()?;
    let millis = config.statement_timeout.0.as_millis().to_string();
    let options = options.application_name(name).options([("statement_timeout", millis.as_str())]);
    Ok(PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.statement_timeout.0)
        .connect_lazy_with(options))
}

/// The table as a source of lists.
#[derive(Debug)]
pub struct CrlTable {
    lists: Arc<RevocationLists>,
    pool: PgPool,
    poll: Duration,
    deadline: Duration,
}

impl CrlTable {
    /// A source that connects when it is first read. It has a connection of its own: a large list on its way
    /// must not keep a change of the client table waiting.
    pub fn new(config: &config::Registry, lists: Arc<RevocationLists>) -> Result<Self, SyncError> {
        let pool = lazy_pool(config, "portcullis-proxy crls")?;
        Ok(Self { lists, pool, poll: config.poll.0, deadline: config.statement_timeout.0 })
    }

    /// Reads until the soft stop: every `registry.poll`, and at once after a hint.
    pub async fn run(self, mut hints: watch::Receiver<()>, shutdown: Shutdown) {
        while !shutdown.is_requested() {
            tokio::select! {
                outcome = self.read() => self.lists.table_read(outcome),
                () = shutdown.requested() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(self.poll) => {}
                Ok(()) = hints.changed() => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// Offers every list that is new.
    async fn read(&self) -> Result<(), SyncError> {
        for head in self.lists.wanted(self.within(self.heads()).await?) {
            if let Some(der) = self.within(self.der(&head)).await? {
                self.lists.offer_row(head, der).await;
            }
        }
        Ok(())
    }

    async fn within<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, SyncError> {
        Ok(timeout(self.deadline, statement).await.map_err(|_| SyncError::Timeout(self.deadline))??)
    }

    async fn heads(&self) -> Result<Vec<CrlHead>, sqlx::Error> {
        sqlx::query_as!(
            CrlHead,
            r#"-- crls.heads
            SELECT issuer_name AS "issuer_name!", issuer_key_id AS "issuer_key_id!",
                   crl_number::text AS "number!"
            FROM crl_registry"#
        )
        .fetch_all(&self.pool)
        .await
    }

    /// None if the row is of another number by now; the next look sees that.
    async fn der(&self, head: &CrlHead) -> Result<Option<Vec<u8>>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
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
}
