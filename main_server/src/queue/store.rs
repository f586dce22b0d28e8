//! Group commit: one statement, and one fsync, for everything that arrived while the last one ran.
//!
//! In: batches from the proxy door, through a bounded channel. Out: one result per message, after the
//! commit. Refused: batches beyond the channel's bound. No timer: an idle writer takes a batch at once, and
//! under load the next commit is as large as what waited for it, within bounds.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    identity::Name,
    shutdown::Shutdown,
    wire::{
        Code,
        submit::{SubmitOutcome, SubmitResult, SubmittedMessage},
    },
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    DEFAULT_QUEUE, Fault, Jobs,
    fault::is_about_data,
    insert::{Inserts, NewMessage},
    kept::Kept,
};
use crate::{config::QueueConfig, seal::Keyring};

type Answer = Result<Vec<SubmitResult>, Fault>;

/// One batch that waits for its commit, sealed by the task that brought it: what it costs is not waited for by the
/// others of its commit.
#[derive(Debug)]
struct Submission {
    messages: Vec<NewMessage>,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

/// The way in.
#[derive(Debug)]
pub(super) struct Store {
    incoming: mpsc::Sender<Submission>,
    patience: Duration,
    jobs: Jobs,
}

/// One of the tasks that commit.
struct Writer {
    incoming: Arc<Mutex<mpsc::Receiver<Submission>>>,
    max_messages: usize,
    max_bytes: usize,
    kept: Kept,
    inserts: Inserts,
    jobs: Jobs,
}

/// Starts the writers. They end once the store is dropped and everything it took is answered.
pub(super) fn open(jobs: Jobs, config: &QueueConfig, shutdown: &Shutdown) -> Store {
    let (sender, receiver) = mpsc::channel(config.waiting_batches);
    let incoming = Arc::new(Mutex::new(receiver));
    for _ in 0..config.writers {
        let writer = Writer {
            incoming: incoming.clone(),
            max_messages: config.commit_messages,
            max_bytes: config.commit_bytes.0,
            kept: Kept::of(jobs.pool.clone()),
            inserts: Inserts::default(),
            jobs: jobs.clone(),
        };
        shutdown.spawn("queue.store", writer.run());
    }
    Store { incoming: sender, patience: config.submit_timeout.0, jobs }
}

impl Store {
    pub(super) async fn submit(&self, proxy: Name, messages: Vec<SubmittedMessage>, bytes: usize) -> Answer {
        let count = messages.len();
        let (answer, answered) = oneshot::channel();
        let Ok(room) = self.incoming.try_reserve() else {
            self.jobs.metrics.submit_overloaded(count);
            return Err(Fault::Overloaded);
        };
        let keyring = &self.jobs.keyring;
        let sealed = messages.into_iter().map(|message| seal(keyring, message, proxy.clone()));
        let messages =
            sealed.collect::<Result<_, _>>().inspect_err(|_| self.jobs.metrics.submit_failed(count))?;
        room.send(Submission { messages, bytes, answer });
        let answer = match timeout(self.patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::Unknown),
            Err(_) => Err(Fault::TimedOut(self.patience)),
        };
        match &answer {
            Ok(results) => results.iter().for_each(|result| self.jobs.metrics.submitted(result.outcome)),
            Err(_) => self.jobs.metrics.submit_failed(count),
        }
        answer
    }
}

fn seal(keyring: &Keyring, message: SubmittedMessage, proxy: Name) -> Result<NewMessage, Fault> {
    let sealed = keyring.seal_message(&message)?;
    let key = keyring.seal_key(&message, &sealed.payload_hash);
    Ok(NewMessage { message, proxy, sealed, key, place: Default::default() })
}

impl Writer {
    async fn run(mut self) {
        while let Some(submissions) = self.collect().await {
            self.commit(submissions).await;
        }
    }

    /// Waits for one submission and takes what else is there. The last one taken may go beyond the bounds,
    /// which are therefore bounds of a commit up to one request. `None`: nothing will come any more.
    async fn collect(&self) -> Option<Vec<Submission>> {
        let mut incoming = self.incoming.lock().await;
        let mut taken = vec![incoming.recv().await?];
        let (mut messages, mut bytes) = (taken[0].messages.len(), taken[0].bytes);
        while messages < self.max_messages && bytes < self.max_bytes {
            let Ok(next) = incoming.try_recv() else { break };
            messages += next.messages.len();
            bytes += next.bytes;
            taken.push(next);
        }
        // Whoever gave up waiting was told that the outcome is unknown; not storing it is one of the two.
        taken.retain(|submission| !submission.answer.is_closed());
        Some(taken)
    }

    async fn commit(&mut self, submissions: Vec<Submission>) {
        let began = Instant::now();
        let mut results = Vec::with_capacity(submissions.len());
        let mut answers = Vec::with_capacity(submissions.len());
        let mut all = Vec::new();
        for (number, Submission { messages, answer, .. }) in submissions.into_iter().enumerate() {
            answers.push(answer);
            results.push(vec![None; messages.len()]);
            for (index, message) in messages.into_iter().enumerate() {
                match self.sealed_anew(message) {
                    Ok(message) => all.push(NewMessage { place: (number, index), ..message }),
                    Err(error) => error!(%error, "a message could not be sealed anew"),
                }
            }
        }
        let count = all.len();
        match self.store_all(all, &mut results).await {
            Ok(()) => self.jobs.metrics.committed(count, began.elapsed()),
            Err(error) => error!(%error, messages = count, "a batch could not be stored"),
        }
        for (answer, results) in answers.into_iter().zip(results) {
            // All of its messages have a result, or none of them counts.
            let complete: Option<Vec<SubmitResult>> = results.into_iter().collect();
            // Nobody waits any more: the proxy sends it again and gets `replayed`.
            let _gave_up = answer.send(complete.ok_or(Fault::Unknown));
        }
    }

    /// A message that waited while the key changed: nobody may be told that the former one is of no use while somebody
    /// stores under it.
    fn sealed_anew(&self, new: NewMessage) -> Result<NewMessage, Fault> {
        let keyring = &self.jobs.keyring;
        if keyring.is_current(&new.sealed.key_id) { Ok(new) } else { seal(keyring, new.message, new.proxy) }
    }

    /// Stores the first of each id and key, and recognises the others in one go, however many they are: who sends one
    /// key a thousand times must not make everybody of this commit wait for a thousand. What is not recognised, since
    /// the first was refused, gets its own turn. Into a full queue nothing goes, so nothing needs parting.
    async fn store_all(
        &mut self,
        mut messages: Vec<NewMessage>,
        results: &mut [Vec<Option<SubmitResult>>],
    ) -> Result<(), Fault> {
        while !messages.is_empty() {
            let full = self.jobs.backlogs.is_full(DEFAULT_QUEUE);
            let (firsts, others) = if full { (messages, Vec::new()) } else { first_of_each(messages) };
            self.store(&firsts, full, results).await?;
            let recognised = self.jobs.recognise(&others.iter().collect::<Vec<_>>()).await?;
            messages = Vec::new();
            for (message, result) in others.into_iter().zip(recognised) {
                match result {
                    Some(result) => results[message.place.0][message.place.1] = Some(result),
                    None => messages.push(message),
                }
            }
        }
        Ok(())
    }

    /// Stores messages with distinct ids, sorted. If the *data* of one of them is at fault, halves are tried
    /// until it stands alone: it is rejected, and its neighbours are stored.
    async fn store(
        &mut self,
        messages: &[NewMessage],
        full: bool,
        results: &mut [Vec<Option<SubmitResult>>],
    ) -> Result<(), Fault> {
        let mut pending = vec![messages];
        while let Some(part) = pending.pop() {
            match self.insert(part, full).await {
                Ok(stored) => {
                    for (message, result) in part.iter().zip(stored) {
                        results[message.place.0][message.place.1] = Some(result);
                    }
                }
                Err(Fault::Database(error)) if is_about_data(&error) => {
                    if let [message] = part {
                        let id = message.message.message_id;
                        warn_rejected(message, &error);
                        results[message.place.0][message.place.1] =
                            Some(result(id, SubmitOutcome::Rejected, Some(Code::InvalidField), None));
                    } else {
                        let (left, right) = part.split_at(part.len() / 2);
                        pending.extend([right, left]);
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// One statement where all is new; further ones if ids or keys existed. One result per message, in order. Into a full queue nothing goes,
    /// but what is there already is recognised.
    async fn insert(&mut self, messages: &[NewMessage], full: bool) -> Result<Vec<SubmitResult>, Fault> {
        let (jobs, kept, inserts) = (&self.jobs, &mut self.kept, &mut self.inserts);
        let inserting = async {
            let mut used = kept.take().await?;
            let stored = inserts.insert(&mut used.connection, messages).await?;
            kept.keep(used);
            Ok(stored)
        };
        let stored = if full { vec![None; messages.len()] } else { jobs.bounded(inserting).await? };
        if let Some(ready_at) = stored.iter().flatten().min() {
            jobs.backlogs.stored(DEFAULT_QUEUE, stored.iter().flatten().count());
            jobs.ready(DEFAULT_QUEUE, *ready_at);
        }
        let unstored = messages.iter().zip(&stored).filter(|(_, at)| at.is_none()).map(|(new, _)| new);
        let mut recognised = jobs.recognise(&unstored.collect::<Vec<_>>()).await?.into_iter();
        let results = messages.iter().zip(stored).map(|(new, at)| {
            let id = new.message.message_id;
            if at.is_some() {
                return Ok(result(id, SubmitOutcome::Queued, None, at));
            }
            let refused =
                || full.then(|| result(id, SubmitOutcome::Rejected, Some(Code::BacklogExceeded), None));
            recognised.next().flatten().or_else(refused).ok_or(Fault::Unknown)
        });
        results.collect()
    }
}

/// The first message of each id and each key, sorted by id; and the others, which a proxy or a client sent again.
fn first_of_each(messages: Vec<NewMessage>) -> (Vec<NewMessage>, Vec<NewMessage>) {
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    let (mut firsts, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(|new| {
        let id = new.message.message_id;
        !ids.contains(&id) && new.key_of().is_none_or(|key| keys.insert(key)) && ids.insert(id)
    });
    firsts.sort_unstable_by_key(|new| new.message.message_id);
    (firsts, others)
}

fn result(
    message_id: Uuid,
    outcome: SubmitOutcome,
    code: Option<Code>,
    queued_at: Option<time::OffsetDateTime>,
) -> SubmitResult {
    SubmitResult { message_id, original: None, outcome, code, queued_at }
}

/// The error's text may quote the row; its code and the constraint's name do not.
fn warn_rejected(message: &NewMessage, error: &sqlx::Error) {
    let database = error.as_database_error();
    let code = database.and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    let constraint = database.and_then(sqlx::error::DatabaseError::constraint).unwrap_or_default();
    warn!(
        message_id = %message.message.message_id,
        client_id = %message.message.client_id,
        proxy = %message.proxy,
        sqlstate = %code,
        constraint,
        "the database cannot hold this message"
    );
}
