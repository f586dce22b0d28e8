//! Main servers that are not spoken to: refused by the table `services`, or on a revocation list.
//!
//! In: the view `main_servers_refused`, read every `registry.poll` and when the database hints at a change; the lists.
//! Out: whether a main server may be spoken to, from memory. Before the first reading none may; a database that is
//! lost later leaves the last reading in force, and the clients are refused before that matters.

use std::{collections::HashSet, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use rustls::CertificateError;
use shared::{
    identity::Fingerprint,
    shutdown::Shutdown,
    tls::{
        Gate, Peer,
        crl::{RevocationLists, Standing},
    },
};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{config, crls::lazy_pool, registry::SyncError};

/// What is known of main servers.
#[derive(Debug)]
pub(crate) struct MainServers {
    refused: ArcSwapOption<HashSet<Fingerprint>>,
    lists: Arc<RevocationLists>,
}

impl MainServers {
    /// Nothing read yet: none may be spoken to.
    pub(crate) fn new(lists: Arc<RevocationLists>) -> Arc<Self> {
        Arc::new(Self { refused: ArcSwapOption::empty(), lists })
    }

    /// Whether a main server may not be spoken to. A list that is late is no reason: it refuses the proxies at the
    /// main server's own door.
    pub(super) fn refuses(&self, peer: &Peer) -> bool {
        let refused = self.refused.load();
        refused.as_ref().is_none_or(|refused| refused.contains(&peer.certificate.fingerprint))
            || matches!(self.lists.judge(peer), Standing::Revoked(_))
    }

    /// Asked in each handshake.
    pub(super) fn gate(self: &Arc<Self>) -> Gate {
        let this = self.clone();
        Gate::new(move |peer| if this.refuses(peer) { Err(CertificateError::Revoked) } else { Ok(()) })
    }

    /// Starts reading, until the soft stop.
    pub(crate) fn keep_reading(
        self: &Arc<Self>,
        config: &config::Registry,
        hints: watch::Receiver<()>,
        shutdown: &Shutdown,
    ) -> Result<(), SyncError> {
        let pool = lazy_pool(config, "portcullis-proxy main servers")?;
        let (every, deadline) = (config.poll.0, config.statement_timeout.0);
        shutdown.spawn("main servers", self.clone().read_on(pool, every, deadline, hints, shutdown.clone()));
        Ok(())
    }

    async fn read_on(
        self: Arc<Self>,
        pool: PgPool,
        every: Duration,
        deadline: Duration,
        mut hints: watch::Receiver<()>,
        shutdown: Shutdown,
    ) {
        let mut failing = false;
        while !shutdown.is_requested() {
            match timeout(deadline, read(&pool)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(refused) => {
                    self.refused.store(Some(Arc::new(refused)));
                    if std::mem::take(&mut failing) {
                        info!("the main servers' rows are read again");
                    }
                }
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    warn!(%error, "cannot read the main servers' rows; keeping the last");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = sleep(every) => {}
                Ok(()) = hints.changed() => {}
                () = shutdown.requested() => return,
            }
        }
    }
}

async fn read(pool: &PgPool) -> Result<HashSet<Fingerprint>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"-- main_servers.refused
        SELECT fingerprint AS "fingerprint!" FROM main_servers_refused"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.iter().filter_map(|text| text.parse().ok()).collect())
}
