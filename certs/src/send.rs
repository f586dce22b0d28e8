//! Sending messages to a proxy, for those without curl: one, or a whole file.
//!
//! In: messages, as arguments or one JSON object per line. Out: what became of each ([`Settled`]), when the proxy has
//! acknowledged or refused it for good. A message keeps its idempotency key however often it is sent, so that none is
//! stored twice: over lost answers, and over interruptions by means of the journal ([`Journal`]).

mod backoff;
mod call;
mod journal;
mod lines;
mod progress;
mod settled;

use std::{
    collections::VecDeque,
    io::BufRead,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use url::Url;
use uuid::Uuid;

pub use call::{Caller, SendError};
pub use journal::{Journal, JournalError};
pub use progress::Progress;
pub use settled::{Settled, Tally};

use lines::{Item, Lines};

/// What the proxy takes in one request (docs/http.md), with room for what it may count otherwise.
const BATCH_MESSAGES: usize = 1000;
const BATCH_BYTES: usize = 3 * 1024 * 1024 + 512 * 1024;

/// A new idempotency key, or the first part of many.
#[must_use]
pub fn new_key() -> String {
    Uuid::new_v4().to_string()
}

/// Sends one message, a JSON object, until it is acknowledged or refused for good.
pub async fn one(caller: &Caller, json: String, key: &str) -> Result<Settled, SendError> {
    let reply = caller.post("/api/v1/messages", "application/json", Some(key), json.into()).await?;
    Ok(Settled::of_reply(1, &reply))
}

/// Sends every message of `input`, one JSON object per line, in batches. `settled` is told of each; with a journal,
/// after it is on disk.
pub async fn many(
    caller: &Caller,
    input: impl BufRead,
    key: &str,
    journal: &mut Journal,
    progress: &Progress,
    settled: &mut dyn FnMut(&Settled) -> anyhow::Result<()>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut lines = Lines::new(input, key.to_owned());
    loop {
        let batch = lines.next_batch(BATCH_MESSAGES, BATCH_BYTES)?;
        if batch.end {
            break;
        }
        let mut local = batch.refused;
        let mut items = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            if journal.has(item.line, &item.digest)? {
                tally.before += 1;
            } else {
                items.push(item);
            }
        }
        for refused in local.drain(..) {
            record(&[refused], journal, &mut tally, settled)?;
        }
        let mut waiting = VecDeque::from([items]);
        while let Some(items) = waiting.pop_front() {
            if items.is_empty() {
                continue;
            }
            match submit(caller, &items).await? {
                Submitted::Settled(done, again) => {
                    record(&done, journal, &mut tally, settled)?;
                    if let Some(Again { items, why, after }) = again {
                        caller.wait(why, after).await?;
                        waiting.push_front(items);
                    }
                }
                Submitted::TooLarge(mut items) => {
                    let rest = items.split_off(items.len() / 2);
                    waiting.push_front(rest);
                    waiting.push_front(items);
                }
            }
        }
        progress.at(lines.bytes(), &tally);
    }
    Ok(tally)
}

fn record(
    done: &[Settled],
    journal: &mut Journal,
    tally: &mut Tally,
    settled: &mut dyn FnMut(&Settled) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    journal.write(done)?;
    for one in done {
        tally.count(one);
        settled(one)?;
    }
    Ok(())
}

/// What became of one batch.
enum Submitted {
    /// What is settled, and what is to be sent again.
    Settled(Vec<Settled>, Option<Again>),
    /// The proxy takes fewer or less at once.
    TooLarge(Vec<Item>),
}

/// What another sending may change.
struct Again {
    items: Vec<Item>,
    why: String,
    after: Option<Duration>,
}

async fn submit(caller: &Caller, items: &[Item]) -> Result<Submitted, SendError> {
    let body: Vec<u8> = items.iter().flat_map(|item| item.json.bytes().chain([b'\n'])).collect();
    let reply = caller.post("/api/v1/messages/batch", "application/x-ndjson", None, body.into()).await?;
    let Some(results) = reply.body["results"].as_array() else {
        return match (reply.status.as_u16(), items) {
            (413, [_, _, ..]) => Ok(Submitted::TooLarge(items.to_vec())),
            (413, [item]) => {
                Ok(Submitted::Settled(vec![item.settled(Settled::of_reply(item.line, &reply))], None))
            }
            _ => Err(reply.refusal(caller.url())),
        };
    };
    let (mut done, mut again, mut why) = (Vec::new(), Vec::new(), String::new());
    for (index, item) in items.iter().enumerate() {
        let result = results.iter().find(|result| result["index"] == index);
        let settled = result.and_then(|result| Settled::of_result(item.line, index, result));
        let settled = settled.ok_or_else(|| caller.malformed(&reply, index))?;
        if settled.may_succeed_later() {
            why = format!("{} {}", settled.status, settled.code.as_deref().unwrap_or_default());
            again.push(item.clone());
        } else {
            done.push(item.settled(settled));
        }
    }
    if !done.is_empty() {
        caller.acknowledged();
    }
    let after = reply.retry_after;
    let again = (!again.is_empty()).then_some(Again { items: again, why, after });
    Ok(Submitted::Settled(done, again))
}

/// The member of a problem or result that says what was wrong.
fn word(value: &Value, member: &str) -> Option<String> {
    value[member].as_str().map(str::to_owned)
}

/// Where the journal of a file lies unless it is named: beside it.
#[must_use]
pub fn journal_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sent");
    name.into()
}

/// The proxy's URL without path: `https://HOST:PORT`.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
