//! Clients that keep posting while something is broken, and remember every answer.
//!
//! Also: what became of what was answered, at the workers and in the metrics.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use local::{Answer, Process, Stack, eventually};

use crate::support::{DEADLINE, Sender};

/// Messages that flow until they are told to stop.
pub(crate) struct Traffic {
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// So many clients post to the stack's first proxy, each the next message when the last is answered.
    pub(crate) fn start(stack: &Stack, clients: usize) -> Self {
        let (answers, stop) = (Arc::<Mutex<Vec<Answer>>>::default(), Arc::<AtomicBool>::default());
        let senders = (0..clients).map(|_| {
            let sender = Sender::new(stack);
            let (answers, stop) = (answers.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = sender.post_message("on its way");
                    answers.lock().unwrap().push(answer);
                }
            })
        });
        let senders = senders.collect();
        Self { answers, stop, senders }
    }

    /// Waits for so many further answers with this status; 0 is a request that got none.
    pub(crate) fn wait_for(&self, count: usize, status: u16) {
        let so_far = || self.answers.lock().unwrap().iter().filter(|answer| answer.status == status).count();
        let enough = so_far() + count;
        let came = eventually(DEADLINE, || (so_far() >= enough).then_some(()));
        assert!(came.is_some(), "{} of {enough} answers {status}", so_far());
    }

    /// Waits for the answers that are due, and hands over all of them.
    pub(crate) fn stop(mut self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            sender.join().unwrap();
        }
        std::mem::take(&mut self.answers.lock().unwrap())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The id of a message that was answered 202.
pub(crate) fn id_of(answer: &Answer) -> String {
    answer.json().unwrap()["message_id"].as_str().unwrap().to_owned()
}

/// The ids of all that were answered 202.
pub(crate) fn accepted(answers: &[Answer]) -> BTreeSet<String> {
    answers.iter().filter(|answer| answer.status == 202).map(id_of).collect()
}

/// Waits until no job is left to do, and answers which of these messages no worker has.
pub(crate) fn undelivered(stack: &Stack, messages: &BTreeSet<String>) -> BTreeSet<String> {
    let missing = || -> BTreeSet<String> {
        let delivered = delivered(stack).into_iter().collect();
        messages.difference(&delivered).cloned().collect()
    };
    let done = eventually(DEADLINE, || (missing().is_empty() && unfinished(stack) == "0").then_some(()));
    // asked once: on a stack that is shared, another test's message may be on its way by now
    assert!(done.is_some(), "{} jobs are not done; missing: {:?}", unfinished(stack), missing());
    missing()
}

/// The messages that stand more than once in the workers' files.
pub(crate) fn repeated(stack: &Stack) -> Vec<String> {
    let mut seen = BTreeSet::new();
    delivered(stack).into_iter().filter(|id| !seen.insert(id.clone())).collect()
}

/// A number of a process's metrics, by name and labels; 0 if it is not there yet.
pub(crate) fn metric(process: &Process, series: &str) -> u64 {
    let (_, text) = process.get("/metrics").unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.trim_end_matches(".0").parse().unwrap())
}

fn delivered(stack: &Stack) -> Vec<String> {
    let messages = stack.delivered().unwrap();
    messages.iter().map(|message| message["message_id"].as_str().unwrap().to_owned()).collect()
}

fn unfinished(stack: &Stack) -> String {
    let jobs = private_postgres::psql(stack.owner_url(), "SELECT count(*) FROM jobs WHERE state <> 'done'");
    jobs.unwrap_or_default().trim().to_owned()
}
