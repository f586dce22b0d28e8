//! Requests over kept connections, each when the one before is answered, or at a fixed rate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{
    connection::{Answer, Connection},
    gate::Gate,
    meter::{Meter, Signals},
    pacer::Pacer,
    request::Request,
    tls,
};
use crate::load::{Ask, Outcome, Pace, Requests};

/// What the connections share.
#[derive(Clone)]
struct Shared {
    load: Arc<Requests>,
    tls: TlsConnector,
    meter: Meter,
    pacer: Option<Pacer>,
    gate: Option<Arc<Gate>>,
    sent: Arc<AtomicU64>,
}

pub(super) async fn run(load: Requests, signals: Signals) -> anyhow::Result<Outcome> {
    let tls = tls::connector(&load.target)?;
    let gate = load.gate.clone().map(|gate| Arc::new(Gate::new(gate)));
    // before the rate begins, so that connecting does not count as being late
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(Connection::open(load.target.address, &tls).await?);
    }
    let pacer = match load.pace {
        Pace::Closed => None,
        Pace::Open(per_second) => Some(Pacer::start(per_second)),
    };
    let window = load.window;
    let shared =
        Shared { load: Arc::new(load), tls, meter: Meter::default(), pacer, gate, sent: Arc::default() };
    let mut tasks = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        tasks.spawn(ask_on(shared.clone(), connection, number));
    }
    if let Some(gate) = &shared.gate {
        tasks.spawn(gate.clone().follow(shared.meter.clone()));
        return gate.measure(window, signals, &shared.meter).await;
    }
    if shared.load.messages.is_some() {
        shared.meter.begin(signals)?;
        while tasks.join_next().await.is_some() {}
        return Ok(shared.meter.end());
    }
    shared.meter.measure(window, signals).await
}

/// Asks until all was sent, or without end; a connection that fails is replaced.
async fn ask_on(shared: Shared, mut connection: Connection, number: usize) {
    let mut request = Request::new(shared.load.ask);
    let messages = request.messages;
    // numbers of different connections do not meet
    let mut counter = number as u64 * 1_000_000;
    while shared.load.messages.is_none_or(|most| shared.sent.fetch_add(messages, Relaxed) < most) {
        let due = match (&shared.pacer, &shared.gate) {
            (Some(pacer), _) => pacer.next().await,
            (None, Some(gate)) => gate.pass(messages).await,
            (None, None) => Instant::now(),
        };
        let success = request.success;
        match connection.ask(request.next(&mut counter)).await {
            Ok(answer) if answer.status == success => {
                let accepted = accepted(shared.load.ask, &answer);
                // behind a gate what counts is delivered, not accepted
                let events = if shared.gate.is_some() { 0 } else { accepted };
                shared.meter.done(events, due.elapsed());
                if accepted < messages {
                    shared.meter.failed(|| format!("{accepted} of {messages} accepted: {}", start(&answer)));
                }
            }
            Ok(answer) if Some(answer.status) == shared.load.refusal => shared.meter.refused(),
            Ok(answer) => shared.meter.failed(|| format!("answer {}: {}", answer.status, start(&answer))),
            Err(error) => {
                shared.meter.failed(|| error.to_string());
                match Connection::open(shared.load.target.address, &shared.tls).await {
                    Ok(another) => connection = another,
                    Err(_) => return,
                }
            }
        }
    }
}

/// How many messages an answer says were accepted.
fn accepted(ask: Ask, answer: &Answer<'_>) -> u64 {
    const MEMBER: &[u8] = b"\"accepted\":";
    if !matches!(ask, Ask::Batch(_)) {
        return 1;
    }
    // it stands behind the results, of which there are many
    let found = answer.body.windows(MEMBER.len()).rposition(|window| window == MEMBER);
    let digits = found.map(|at| &answer.body[at + MEMBER.len()..]).unwrap_or_default();
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| 10 * number + u64::from(digit - b'0'))
}

fn start(answer: &Answer<'_>) -> String {
    String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_what_its_answer_accepts() {
        let answer = |body| Answer { status: 200, body };
        let body = br#"{"results":[{"index":0,"status":202}],"accepted":97,"refused":3}"#;
        assert_eq!(accepted(Ask::Batch(100), &answer(body)), 97);
        assert_eq!(accepted(Ask::Batch(100), &answer(b"{}")), 0);
        assert_eq!(accepted(Ask::Message, &answer(b"{}")), 1);
    }
}
