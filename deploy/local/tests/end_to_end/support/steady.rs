//! Clients that send one message after the other while something changes, and remember what became of each.
//!
//! In: the addresses of proxies, a protocol, how often a message is tried. A message has a key, so that whoever gets no answer
//! may send it again (RFC 9110 §9.2.2): on another connection, to the next proxy. An answer of whatever kind is never asked
//! for again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    collections::BTreeSet,
    error::Error as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use local::{Client, eventually};
use reqwest::header::CONTENT_TYPE;

use super::{DEADLINE, holder::new_name};

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Speaking {
    /// HTTP/1.1, on connections that are kept.
    Http1,
    /// HTTP/2, on one connection.
    Http2,
    /// HTTP/1.1, on a new connection for each request.
    Anew,
}

/// The status and the body, or why there was no answer.
pub(crate) type Outcome = Result<(u16, String), String>;

/// Several such clients.
pub(crate) struct Steady {
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Steady {
    /// One client for each way of connecting; each begins at another of the proxies, and tries a message so often at most.
    pub(crate) fn start(client: &Client, proxies: &[String], ways: &[Speaking], tries: usize) -> Self {
        let (outcomes, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let clients = ways.iter().enumerate().map(|(number, way)| {
            let (outcomes, stop) = (outcomes.clone(), stop.clone());
            let (client, mut proxies) = (http_client(client, *way), proxies.to_vec());
            let first = number % proxies.len();
            proxies.rotate_left(first);
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while !stop.load(Relaxed) {
                    let outcome = runtime.block_on(send(&client, &mut proxies, tries));
                    outcomes.lock().unwrap().push(outcome);
                }
            })
        });
        let clients = clients.collect();
        Self { outcomes, stop, clients }
    }

    /// Waits until so many more messages were answered.
    pub(crate) fn wait_for(&self, count: usize) {
        let so_far = || self.outcomes.lock().unwrap().len();
        let enough = so_far() + count;
        let came = eventually(DEADLINE, || (so_far() >= enough).then_some(()));
        assert!(came.is_some(), "{} of {enough} answers", so_far());
    }

    /// Waits for the answers that are due, refuses all but 202, and answers the ids of the messages.
    pub(crate) fn accepted(mut self) -> BTreeSet<String> {
        self.stop.store(true, Relaxed);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        let outcomes = std::mem::take(&mut *self.outcomes.lock().unwrap());
        let id = |outcome: &Outcome| match outcome {
            Ok((202, body)) => {
                let body: serde_json::Value = serde_json::from_str(body).ok()?;
                Some(body["message_id"].as_str()?.to_owned())
            }
            _ => None,
        };
        let failed: Vec<_> = outcomes.iter().filter(|outcome| id(outcome).is_none()).take(5).collect();
        assert!(failed.is_empty(), "of {} messages: {failed:#?}", outcomes.len());
        let ids: BTreeSet<_> = outcomes.iter().filter_map(id).collect();
        assert_eq!(ids.len(), outcomes.len(), "two messages with one id");
        ids
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

async fn send(client: &reqwest::Client, proxies: &mut [String], tries: usize) -> Outcome {
    let key = format!("\"{}\"", uuid::Uuid::new_v4());
    let message =
        format!("{{\"sender_number\": \"+1234567890\", \"message_body\": \"from {}\"}}", new_name());
    let mut outcome = Err("never tried".to_owned());
    for _ in 0..tries {
        let request = client.post(format!("{}/api/v1/messages", proxies[0])).body(message.clone());
        let request = request.header(CONTENT_TYPE, "application/json").header("idempotency-key", &key);
        outcome = match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                answer.text().await.map(|body| (status, body)).map_err(|error| why(&error))
            }
            Err(error) => Err(why(&error)),
        };
        if outcome.is_ok() {
            break;
        }
        proxies.rotate_left(1);
    }
    outcome
}

fn why(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "the test stands outside and may connect as it likes")]
fn http_client(client: &Client, way: Speaking) -> reqwest::Client {
    let alpn: &[u8] = match way {
        Speaking::Http1 | Speaking::Anew => b"http/1.1",
        Speaking::Http2 => b"h2",
    };
    let kept = if matches!(way, Speaking::Anew) { 0 } else { usize::MAX };
    reqwest::Client::builder()
        .tls_backend_preconfigured(super::caller::client_config(client, alpn))
        .no_proxy()
        .pool_max_idle_per_host(kept)
        // the test itself decides what is sent again
        .retry(reqwest::retry::never())
        .timeout(DEADLINE)
        .build()
        .unwrap()
}
