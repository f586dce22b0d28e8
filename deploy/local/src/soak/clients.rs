//! The clients: each sends one message, or one batch, after the other, and remembers what it was answered.
//!
//! In: the proxies' addresses. Out: what was sent under which text, and what was acknowledged. A client with keys
//! sends a message again, to the next proxy, until it is acknowledged; one without sends it once, whatever comes of
//! it. Now and then a client sends what was acknowledged once more: the answer must be the same.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    connection::{Connection, Connector},
    random::Random,
};
use crate::{Client, Interrupt};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long after the end a client goes on with the message that it is at. Nothing is broken any more then.
const LAST_MESSAGE: Duration = Duration::from_mins(2);
/// One message of so many is sent once more after it was acknowledged.
const ONCE_MORE: usize = 50;

/// What all clients share.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) acknowledged: AtomicU64,
    over: AtomicBool,
}

/// One message in the history.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) text: String,
    /// The ids under which it was acknowledged: one, if all is well; none, if the outcome is unknown.
    pub(super) ids: Vec<Uuid>,
}

/// What one client did.
#[derive(Debug)]
pub(super) struct History {
    pub(super) client_id: String,
    /// Whether each message had an idempotency key.
    pub(super) keyed: bool,
    pub(super) sent: Vec<Sent>,
    /// Answers that no fault explains.
    pub(super) unexpected: Vec<String>,
    /// How often an answer said that it was a replay.
    pub(super) replayed: u64,
}

/// How a client sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// With an idempotency key for each message.
    pub(super) keyed: bool,
    /// So many messages in a request.
    pub(super) batch: usize,
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    threads: Vec<JoinHandle<History>>,
    progress: Arc<Progress>,
}

struct Sender {
    connector: Connector,
    urls: Vec<String>,
    next: usize,
    connection: Option<Connection>,
    way: Way,
    random: Random,
    progress: Arc<Progress>,
    pause: Interrupt,
    history: History,
}

/// What one request came to for one message, if it was answered.
#[derive(Clone)]
enum Asked {
    Accepted(Uuid),
    NotNow,
    Refused(String),
}

/// The members that count, of a 202 and of each result of a batch.
#[derive(Deserialize)]
struct Answered {
    status: Option<serde_json::Value>,
    message_id: Option<Uuid>,
    #[serde(default)]
    replayed: bool,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Answered>,
}

impl Clients {
    /// Starts one for each client, each in its way.
    pub(super) fn start(clients: &[(Client, Way)], urls: &[String], seed: u64) -> anyhow::Result<Self> {
        let progress = Arc::<Progress>::default();
        let mut threads = Vec::new();
        for (number, (client, way)) in clients.iter().enumerate() {
            let sender = Sender {
                connector: Connector::of(client)?,
                urls: urls.to_owned(),
                next: number,
                connection: None,
                way: *way,
                random: Random::new(seed ^ number as u64),
                progress: progress.clone(),
                pause: Interrupt::default(),
                history: History {
                    client_id: client.id.clone(),
                    keyed: way.keyed,
                    sent: Vec::new(),
                    unexpected: Vec::new(),
                    replayed: 0,
                },
            };
            threads.push(thread::Builder::new().name(client.id.clone()).spawn(move || sender.run())?);
        }
        Ok(Self { threads, progress })
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.progress.acknowledged.load(Relaxed)
    }

    /// Lets each finish what it is at.
    pub(super) fn stop(mut self) -> anyhow::Result<Vec<History>> {
        self.progress.over.store(true, Relaxed);
        let joined = self
            .threads
            .drain(..)
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client's thread panicked")));
        joined.collect()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.progress.over.store(true, Relaxed);
    }
}

impl Sender {
    fn run(mut self) -> History {
        // one that is refused again and again has nothing more to tell
        while !self.progress.over.load(Relaxed) && self.history.unexpected.len() < 10 * self.way.batch {
            let first = self.history.sent.len();
            let texts: Vec<_> = (first..first + self.way.batch)
                .map(|number| format!("{} says {number}", self.history.client_id))
                .collect();
            let mut ids: Vec<Vec<Uuid>> = self.send(&texts).into_iter().map(Vec::from_iter).collect();
            let acknowledged = ids.iter().filter(|ids| !ids.is_empty()).count();
            self.progress.acknowledged.fetch_add(acknowledged as u64, Relaxed);
            if self.way.keyed && acknowledged > 0 && self.random.once_in(ONCE_MORE) {
                for (ids, again) in ids.iter_mut().zip(self.send(&texts)) {
                    ids.extend(again);
                    ids.dedup();
                }
            }
            self.history.sent.extend(texts.into_iter().zip(ids).map(|(text, ids)| Sent { text, ids }));
        }
        self.history
    }

    /// Sends messages until each is acknowledged, or once if they have no keys; their ids, as far as there are any.
    fn send(&mut self, texts: &[String]) -> Vec<Option<Uuid>> {
        let mut ids = vec![None; texts.len()];
        let mut open: Vec<usize> = (0..texts.len()).collect();
        let mut over_since = None;
        loop {
            let asked: Vec<&str> = open.iter().map(|index| texts[*index].as_str()).collect();
            let answered = self.ask(&asked).unwrap_or_else(|_| vec![Asked::NotNow; asked.len()]);
            let mut still_open = Vec::new();
            for (index, answer) in open.into_iter().zip(answered) {
                match answer {
                    Asked::Accepted(id) => ids[index] = Some(id),
                    Asked::NotNow => still_open.push(index),
                    Asked::Refused(why) => self.history.unexpected.push(format!("`{}`: {why}", texts[index])),
                }
            }
            open = still_open;
            if open.is_empty() {
                return ids;
            }
            // a proxy that is not there answers at once; the next one may be
            self.next += 1;
            self.connection = None;
            let _nobody_asks = self.pause.wait(PAUSE);
            let over = self.progress.over.load(Relaxed);
            let since = over.then(|| *over_since.get_or_insert_with(Instant::now));
            if !self.way.keyed || since.is_some_and(|since| since.elapsed() > LAST_MESSAGE) {
                return ids;
            }
        }
    }

    /// One request; an answer for each message, in order. An error: nobody knows.
    fn ask(&mut self, texts: &[&str]) -> io::Result<Vec<Asked>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.connector.connect(&self.urls[self.next % self.urls.len()])?),
        };
        let message = |text: &str| json!({ "sender_number": "+1234567890", "message_body": text });
        if let (1, [text]) = (self.way.batch, texts) {
            let header = if self.way.keyed {
                format!("Idempotency-Key: \"{}\"\r\n", key(text))
            } else {
                String::new()
            };
            let reply = connection.post("/api/v1/messages", &header, message(text).to_string().as_bytes())?;
            self.history.replayed += u64::from(reply.replayed && reply.status == 202);
            let id =
                serde_json::from_slice::<Answered>(&reply.body).ok().and_then(|answer| answer.message_id);
            return Ok(vec![asked(reply.status, id, &reply.body)]);
        }
        let messages: Vec<_> = texts
            .iter()
            .map(|text| {
                let mut message = message(text);
                if self.way.keyed {
                    message["idempotency_key"] = key(text).into();
                }
                message
            })
            .collect();
        let body = serde_json::to_vec(&messages)?;
        let reply = connection.post("/api/v1/messages/batch", "", &body)?;
        let Ok(Results { results }) = serde_json::from_slice::<Results>(&reply.body) else {
            return Ok(vec![asked(reply.status, None, &reply.body); texts.len()]);
        };
        self.history.replayed += results.iter().filter(|result| result.replayed).count() as u64;
        if results.len() != texts.len() {
            let why = format!("{} results for {} messages", results.len(), texts.len());
            return Ok(vec![Asked::Refused(why); texts.len()]);
        }
        let status = |result: &Answered| {
            result
                .status
                .as_ref()
                .and_then(serde_json::Value::as_u64)
                .and_then(|status| status.try_into().ok())
        };
        Ok(results.iter().map(|one| asked(status(one).unwrap_or(0), one.message_id, &reply.body)).collect())
    }
}

/// A key is visible characters.
fn key(text: &str) -> String {
    text.replace(' ', "-")
}

fn asked(status: u16, id: Option<Uuid>, body: &[u8]) -> Asked {
    match (status, id) {
        (202, Some(id)) => Asked::Accepted(id),
        (429 | 503, _) => Asked::NotNow,
        _ => {
            let body = String::from_utf8_lossy(body);
            Asked::Refused(format!("{status} {}", body.chars().take(500).collect::<String>()))
        }
    }
}
