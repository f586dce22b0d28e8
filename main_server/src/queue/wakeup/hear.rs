//! Listening to the other main servers.
//!
//! In: notifications with a queue's name. Out: a worker woken for each. A connection that is lost is made again.
//! Now and then something is sent to ourselves: if it does not come back, notifications get lost on their way, as
//! `PgBouncer` loses them in transaction mode, and that is said; the poll goes on without them. The others hear it too, and
//! know from it that we listen ([`super::others`]).

use std::{fmt, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::{CHANNEL, Wakeups, tell::tell};

/// How often it is tried whether notifications arrive, and how long one may take.
pub(super) const TRY_EVERY: Duration = Duration::from_secs(30);
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(5);
/// Between attempts to listen.
const AGAIN: Duration = Duration::from_secs(1);
/// No queue's name begins like this.
pub(super) const TO_MYSELF: char = '?';

/// Why nothing is heard.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "LISTEN worked, but a notification did not arrive within {ARRIVES_WITHIN:?}: \
         a pooler in transaction mode loses them; connect to Postgres itself, or use session pooling"
    )]
    Lost,
}

/// Listens for ever. What keeps it from hearing is said when it begins and when it ends.
pub(super) async fn run(pool: &PgPool, wakeups: &Wakeups) {
    let mut reported = None;
    loop {
        let Err(deaf) = listen(pool, wakeups, &mut reported).await;
        wakeups.others.deaf();
        report(&mut reported, &deaf);
        sleep(AGAIN).await;
    }
}

async fn listen(
    pool: &PgPool,
    wakeups: &Wakeups,
    reported: &mut Option<String>,
) -> Result<std::convert::Infallible, Deaf> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    let mut number = 0_u64;
    loop {
        number += 1;
        let to_myself = format!("{}.{number}", wakeups.myself);
        let told = timeout(ARRIVES_WITHIN, tell(pool, std::slice::from_ref(&to_myself)));
        told.await.map_err(|_| Deaf::Lost)??;
        let sent_at = Instant::now();
        if !hear_until(&mut listener, wakeups, sent_at + ARRIVES_WITHIN, Some(&to_myself)).await? {
            return Err(Deaf::Lost);
        }
        wakeups.others.listening(std::time::Instant::now());
        if reported.take().is_some() {
            info!("hearing of other main servers' messages again");
        }
        hear_until(&mut listener, wakeups, sent_at + TRY_EVERY, None).await?;
    }
}

/// Passes on what is heard until then, or until `awaited` is heard; whether it was.
async fn hear_until(
    listener: &mut PgListener,
    wakeups: &Wakeups,
    until: Instant,
    awaited: Option<&str>,
) -> Result<bool, sqlx::Error> {
    while let Ok(heard) = timeout_at(until, listener.try_recv()).await {
        // `None`: the connection was lost and made again. What was missed is found by the poll.
        let Some(notification) = heard? else {
            wakeups.others.deaf();
            continue;
        };
        if awaited == Some(notification.payload()) {
            return Ok(true);
        }
        wakeups.heard(notification.payload(), notification.process_id());
    }
    Ok(false)
}

fn report(reported: &mut Option<String>, deaf: &dyn fmt::Display) {
    let text = deaf.to_string();
    if reported.as_ref() != Some(&text) {
        warn!(error = %text, "not hearing of other main servers' messages; waiting workers find them by queue.poll");
        *reported = Some(text);
    }
}
