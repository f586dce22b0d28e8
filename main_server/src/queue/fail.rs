//! leased → ready, after a delay; or leased → dead, when trying again is pointless or was tried enough.
//! A job that is handed back unworked is ready at once, and its attempt does not count.

use shared::wire::lease::Held;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::held::{HeldGroup, columns};
use crate::seal::{Keyring, SealingFailed};

/// One job to hand back, its error sealed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) held: Held,
    error_key_id: String,
    error: Vec<u8>,
    delay_seconds: Option<f64>,
    way: Way,
}

/// What is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Tried again, while it has attempts left.
    Retried,
    /// Dead at once, for this reason.
    Dead(&'static str),
    /// Handed back unworked.
    Released,
}

impl Failure {
    pub(super) fn new(
        keyring: &Keyring,
        held: Held,
        error: &str,
        delay_seconds: Option<u32>,
        way: Way,
    ) -> Result<Self, SealingFailed> {
        let (error_key_id, error) = keyring.seal_error(held.job_id, error)?;
        Ok(Self { held, error_key_id, error, delay_seconds: delay_seconds.map(f64::from), way })
    }

    fn dead_reason(&self) -> Option<&'static str> {
        if let Way::Dead(reason) = self.way { Some(reason) } else { None }
    }
}

/// What became of jobs that were handed back and went the same way.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) group: HeldGroup,
    pub(super) queue: String,
    pub(super) dead: bool,
    pub(super) ready_at: OffsetDateTime,
    /// Ready at once: somebody may be waiting for it.
    pub(super) ready_now: bool,
}

/// Hands jobs back; answers what became of those that were held.
pub(super) async fn fail(pool: &PgPool, failures: &[Failure]) -> Result<Vec<Failed>, sqlx::Error> {
    let held: Vec<Held> = failures.iter().map(|failure| failure.held).collect();
    let (job_ids, tokens) = columns(&held);
    let errors: Vec<&[u8]> = failures.iter().map(|failure| failure.error.as_slice()).collect();
    let key_ids: Vec<&str> = failures.iter().map(|failure| failure.error_key_id.as_str()).collect();
    let delays: Vec<Option<f64>> = failures.iter().map(|failure| failure.delay_seconds).collect();
    let reasons: Vec<Option<&str>> = failures.iter().map(Failure::dead_reason).collect();
    let released: Vec<bool> = failures.iter().map(|failure| failure.way == Way::Released).collect();
    let failed = sqlx::query!(
        r#"-- queue.fail
        SELECT lease_token AS "lease_token!", message_ids AS "message_ids!", queue AS "queue!", dead AS "dead!",
               ready_at AS "ready_at!", ready_now AS "ready_now!"
        FROM queue_fail($1, $2, $3, $4, $5, $6, $7)"#,
        &job_ids,
        &tokens,
        &errors as &[&[u8]],
        &key_ids as &[&str],
        &delays as &[Option<f64>],
        &reasons as &[Option<&str>],
        &released,
    )
    .fetch_all(pool)
    .await?;
    let of_row = failed.into_iter().map(|row| Failed {
        group: HeldGroup { lease_token: row.lease_token, message_ids: row.message_ids },
        queue: row.queue,
        dead: row.dead,
        ready_at: row.ready_at,
        ready_now: row.ready_now,
    });
    Ok(of_row.collect())
}
