//! Closes connections whose certificate is refused by now: ended by the clock, or by a change that named
//! only its client.
//!
//! Every second, and at once after a sync that found something. Only those that have asked something are
//! looked at: a first request is to hear why it is refused, and its answer ends the connection. Nobody is
//! closed for a copy or a list that is too old: that passes, and is not theirs to mend.

use std::{sync::Arc, time::Duration};

use shared::{serve::Connections, shutdown::Shutdown};
use tracing::debug;

use super::{Authorizer, Refusal};

const EVERY: Duration = Duration::from_secs(1);

/// Sweeps until the soft stop.
pub(crate) async fn sweep(authorizer: Arc<Authorizer>, connections: Arc<Connections>, shutdown: Shutdown) {
    let mut applied = authorizer.registry.applied();
    while !shutdown.is_requested() {
        let closed = connections.close_where(|connection| {
            connection.has_been_used()
                && authorizer.authorize(&connection.peer).is_err_and(Refusal::is_about_the_holder)
        });
        if closed > 0 {
            debug!(closed, "closing connections of certificates that are refused by now");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            Ok(()) = applied.changed() => {}
            () = shutdown.requested() => return,
        }
    }
}
