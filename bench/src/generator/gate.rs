//! Keeps a queue near empty: asks a management listener how much was delivered, and holds requests back while
//! too many messages are on their way. What counts here is what was delivered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::meter::{Meter, Signals};
use crate::load::{self, Outcome, Window};

/// How often is asked.
const ASK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Gate {
    what: load::Gate,
    sent: AtomicU64,
    delivered: AtomicU64,
    /// The counter when we began: a worker may have delivered before.
    first: AtomicU64,
}

impl Gate {
    pub(super) fn new(what: load::Gate) -> Self {
        let [sent, delivered] = [AtomicU64::new(0), AtomicU64::new(0)];
        Self { what, sent, delivered, first: AtomicU64::new(u64::MAX) }
    }

    /// Waits until so many more may be sent.
    pub(super) async fn pass(&self, messages: u64) -> Instant {
        while self.sent.load(Relaxed) + messages > self.delivered.load(Relaxed) + self.what.most {
            tokio::time::sleep(ASK / 10).await;
        }
        self.sent.fetch_add(messages, Relaxed);
        Instant::now()
    }

    /// Keeps `delivered` up to date.
    pub(super) async fn follow(self: Arc<Self>, meter: Meter) {
        loop {
            match self.ask().await {
                Ok(counter) => {
                    let first = self.first.fetch_min(counter, Relaxed).min(counter);
                    self.delivered.store(counter - first, Relaxed);
                }
                Err(error) => meter.failed(|| format!("{error:#}")),
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// As a meter does, with what was delivered as the count.
    pub(super) async fn measure(
        &self,
        window: Window,
        signals: Signals,
        meter: &Meter,
    ) -> anyhow::Result<Outcome> {
        tokio::time::sleep(Duration::from_millis(window.warm_up_ms)).await;
        meter.begin(signals)?;
        let before = self.ask().await?;
        tokio::time::sleep(Duration::from_millis(window.window_ms)).await;
        let after = self.ask().await?;
        Ok(Outcome { count: after - before, ..meter.end() })
    }

    async fn ask(&self) -> anyhow::Result<u64> {
        let mut socket = TcpStream::connect(self.what.management).await?;
        socket.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await?;
        let counter = &self.what.counter;
        let value = text.lines().find_map(|line| line.strip_prefix(counter.as_str())?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {counter} in /metrics"))?.trim().parse()?)
    }
}
