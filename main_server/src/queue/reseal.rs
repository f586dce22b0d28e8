//! Sealing anew, in the background, what was sealed under earlier keys, so that a key can be retired.
//!
//! In: the key ring as it is. Out: messages and errors under the current key; what is left under others, as a metric.
//! Bounded in rate; one walk at a time, whichever server does it; another server goes on where one stopped. A server
//! whose key ring is behind leaves it alone. What does not open stays as it is, and is counted.
//!
//! ```text
//! every second: report the ring ─▶ take the walk ─▶ steps: look ─▶ seal anew ─▶ put and move on ─▶ tell what is left
//! ```

mod look;
mod progress;
mod put;

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serde::{Deserialize, Serialize};
use shared::{identity::Name, shutdown::Shutdown};
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use uuid::Uuid;

pub use progress::{KeyUse, RingOfServer, WalkProgress, key_use, rings_of_servers, walk_progress};

use self::look::look;
use crate::seal::Keyring;

/// Between two looks at whether there is something to do.
const EVERY: Duration = Duration::from_secs(1);
/// Between two reports of the ring, unless it changed.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Between two walks under one key. A server that had not read the new ring yet may have sealed under an old key.
const PAUSE: Duration = Duration::from_mins(1);
/// How long a walk is kept for a server that is not heard of.
const LEASE: Duration = Duration::from_secs(30);

/// Rows that a walk left under a key that is not its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOver {
    messages: u64,
    errors: u64,
}

impl LeftOver {
    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.errors += other.errors;
    }
}

type LeftOvers = BTreeMap<String, LeftOver>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKey {
    key_id: String,
}

/// The task of one server.
#[derive(Debug)]
pub struct Reseal {
    pool: PgPool,
    keyring: Arc<Keyring>,
    /// Which server this is, from its certificate.
    server: Name,
    /// Messages and errors sealed anew per second, at most.
    per_second: u32,
    deadline: Duration,
    walker: Uuid,
    resealed: Counter,
    sealed_under: Family<OfKey, Gauge>,
}

/// A walk that is this server's, for now.
#[derive(Debug)]
struct Walk {
    key: Name,
    after: Uuid,
    left_over: LeftOvers,
}

/// What the task remembers between its rounds.
#[derive(Debug, Default)]
struct Told {
    reported: Option<(Instant, Name, Vec<Name>)>,
    /// Old keys that seal nothing any more, and the log says so.
    idle_keys: HashSet<Name>,
    failing: bool,
}

impl Reseal {
    /// Nothing done yet.
    #[must_use]
    pub fn new(
        pool: PgPool,
        keyring: Arc<Keyring>,
        server: Name,
        per_second: u32,
        deadline: Duration,
        metrics: &mut Registry,
    ) -> Self {
        let (resealed, sealed_under) = (Counter::default(), Family::default());
        metrics.register(
            "portcullis_resealed",
            "Messages and errors sealed anew under the current key",
            resealed.clone(),
        );
        let help = "Messages and errors that the last walk left under a key that is not the current one";
        metrics.register("portcullis_sealed_under", help, sealed_under.clone());
        Self { pool, keyring, server, per_second, deadline, walker: Uuid::new_v4(), resealed, sealed_under }
    }

    /// Runs until the soft stop.
    pub fn start(self, shutdown: &Shutdown) {
        let stop = shutdown.clone();
        shutdown.spawn("queue.reseal", async move {
            let mut told = Told::default();
            loop {
                tokio::select! {
                    () = self.round(&mut told) => {}
                    () = stop.requested() => return,
                }
                tokio::select! {
                    () = sleep(EVERY) => {}
                    () = stop.requested() => return,
                }
            }
        });
    }

    async fn round(&self, told: &mut Told) {
        match self.try_round(told).await {
            Ok(()) if std::mem::take(&mut told.failing) => info!("sealing anew goes on"),
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut told.failing, true) {
                    warn!(%error, "cannot look for what is sealed under earlier keys; trying again");
                }
            }
        }
    }

    async fn try_round(&self, told: &mut Told) -> Result<(), sqlx::Error> {
        let (current, keys) = (self.keyring.current(), self.keyring.key_ids());
        let is_told = told
            .reported
            .as_ref()
            .is_some_and(|(at, of, all)| at.elapsed() < REPORT_EVERY && (of, all) == (&current, &keys));
        if !is_told {
            self.bounded(put::report(&self.pool, &self.server, &current, &keys)).await?;
            told.reported = Some((Instant::now(), current.clone(), keys.clone()));
        }
        if keys.len() > 1
            && let Some(walk) = self.bounded(put::take(&self.pool, self.walker, &current, &keys)).await?
        {
            self.walk(walk).await?;
        }
        self.tell(&current, &keys, told).await
    }

    /// Walks to the end, or until the walk is somebody else's or the ring is another one.
    async fn walk(&self, mut walk: Walk) -> Result<(), sqlx::Error> {
        info!(key = %walk.key, after = %walk.after, "sealing anew what earlier keys sealed");
        while self.keyring.current() == walk.key {
            let began = Instant::now();
            let found = self.bounded(look(&self.pool, &walk, &self.keyring.key_ids())).await?;
            let mut step = found.seal_anew(&self.keyring, &walk);
            let ended = step.ended;
            let rows = step.rows();
            walk.after = step.after;
            walk.left_over = std::mem::take(&mut step.left_over);
            if !self.bounded(put::step(&self.pool, self.walker, &walk, &step)).await? {
                info!("another server walks on");
                break;
            }
            self.resealed.inc_by(rows.into());
            if ended {
                info!(key = %walk.key, left_over = ?walk.left_over, "all that can be is sealed under the current key");
                break;
            }
            // half of the time at most, and not above the rate
            let at_rate = Duration::from_secs_f64(f64::from(rows) / f64::from(self.per_second));
            sleep(at_rate.saturating_sub(began.elapsed()).max(began.elapsed()).min(LEASE / 3)).await;
        }
        Ok(())
    }

    /// What the last whole walk left behind, whoever did it.
    async fn tell(&self, current: &Name, keys: &[Name], told: &mut Told) -> Result<(), sqlx::Error> {
        let Some(left_over) = self.bounded(put::left_over(&self.pool, current)).await? else { return Ok(()) };
        self.sealed_under.clear();
        for (key_id, left) in &left_over {
            let rows = i64::try_from(left.messages + left.errors).unwrap_or(i64::MAX);
            self.sealed_under.get_or_create(&OfKey { key_id: key_id.clone() }).set(rows);
        }
        told.idle_keys
            .retain(|key| keys.contains(key) && key != current && !left_over.contains_key(key.as_str()));
        for key in keys.iter().filter(|key| *key != current && !left_over.contains_key(key.as_str())) {
            self.sealed_under.get_or_create(&OfKey { key_id: key.to_string() }).set(0);
            if told.idle_keys.insert(key.clone()) {
                info!(%key, "nothing is sealed under this key any more: `rotate-keys --retire` takes it out");
            }
        }
        Ok(())
    }

    /// Runs one statement under the deadline.
    async fn bounded<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        timeout(self.deadline, statement).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}
