//! A kept HTTP/1.1 connection between its requests, without the buffers of one that is being used.
//!
//! In: a stream that has been idle for a while, nothing of a request read and nothing of an answer unsent. Out: the
//! same stream, once its peer sends something; nothing when it was closed instead. Why: most connections of most
//! clients are idle, and hyper's buffers are more than half of what one costs.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep_until, timeout},
};
use tokio_rustls::server::TlsStream;

use super::{Connection, activity::Phase, linger::linger, metrics::Bound};

/// A connection is put aside when it has been idle for so long; a client that sends a message now and then in between
/// pays nothing for it.
pub(super) const AFTER: Duration = Duration::from_secs(1);

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Waits for the peer's next bytes; ends the connection when it is to be closed, or was idle for too long.
pub(super) async fn park(
    mut stream: TlsStream<TcpStream>,
    connection: &Connection,
) -> Option<TlsStream<TcpStream>> {
    let limits = connection.limits();
    let Phase::Waiting { since, .. } = connection.phase() else { return Some(stream) };
    let counted = connection.parked();
    tokio::select! {
        // an error shows when it is read
        _ = stream.get_ref().0.readable() => return Some(stream),
        () = connection.closed() => {}
        () = sleep_until((since + limits.idle.0).into()) => {
            connection.reached(Bound::Idle);
            connection.close();
        }
    }
    drop(counted);
    let _ = timeout(GOODBYE, stream.shutdown()).await;
    linger(stream.into_inner().0, limits.linger.0).await;
    None
}
