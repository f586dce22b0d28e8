//! New connections: one request on each and away, or held open with nothing going on.

use std::time::Instant;

use tokio::{sync::oneshot, task::JoinSet};
use tokio_rustls::TlsConnector;

use super::{
    connection::Connection,
    meter::{Meter, Signals},
    request::Request,
    tls,
};
use crate::load::{Ask, Handshakes, Outcome, Target};

/// Connects, asks, closes, again and again.
pub(super) async fn run(load: Handshakes, signals: Signals) -> anyhow::Result<Outcome> {
    let tls = tls::connector(&load.target)?;
    let meter = Meter::default();
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        tasks.spawn(again_and_again(load.target.clone(), tls.clone(), meter.clone()));
    }
    meter.measure(load.window, signals).await
}

async fn again_and_again(target: Target, tls: TlsConnector, meter: Meter) {
    let mut request = Request::new(Ask::Health);
    loop {
        let began = Instant::now();
        match once(&target, &tls, &mut request).await {
            Ok(connection) => {
                meter.done(1, began.elapsed());
                connection.close().await;
            }
            Err(error) => meter.failed(|| format!("{error:#}")),
        }
    }
}

async fn once(target: &Target, tls: &TlsConnector, request: &mut Request) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(target.address, tls).await?;
    let answer = connection.ask(request.next(&mut 0)).await?;
    anyhow::ensure!(answer.status == request.success, "answer {}", answer.status);
    Ok(connection)
}

/// Opens all of them, one request on each, says so, and waits.
pub(super) async fn hold(
    load: Handshakes,
    signals: Signals,
    let_go: oneshot::Receiver<()>,
) -> anyhow::Result<Outcome> {
    let tls = tls::connector(&load.target)?;
    let mut request = Request::new(Ask::Health);
    let mut held = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        held.push(once(&load.target, &tls, &mut request).await?);
    }
    let meter = Meter::default();
    meter.begin(signals)?;
    let _whoever_started_us_is_done = let_go.await;
    Ok(Outcome { count: held.len() as u64, ..meter.end() })
}
