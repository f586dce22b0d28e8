//! Closing so that the peer gets to read our last answer.
//!
//! Closing a socket with unread bytes in it sends a RST, and a peer that is still sending loses the
//! answer that was on its way (RFC 9112 §9.6). So: our direction is closed, and for a while what still
//! comes is thrown away, undecrypted.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};

/// Bytes thrown away at once; a peer that sends more is slowed to this much per [`PAUSE`].
const GULP: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(50);

/// Closes our direction and drains the other until the peer closes it, or the time is over.
pub(super) async fn linger(mut socket: TcpStream, limit: Duration) {
    let deadline = Instant::now() + limit;
    // Fails when TLS closed it already, which is as good.
    let _ = socket.shutdown().await;
    let mut scrap = vec![0; 8 * 1024];
    loop {
        let mut taken = 0;
        while taken < GULP {
            match timeout_at(deadline, socket.read(&mut scrap)).await {
                Ok(Ok(read)) if read > 0 => taken += read,
                _ => return,
            }
        }
        let pause = Instant::now() + PAUSE;
        if pause >= deadline {
            sleep_until(deadline).await;
            return;
        }
        sleep_until(pause).await;
    }
}
