//! What a generator is told and what it answers; and the measuring side's hold on one.
//!
//! A generator is a process of its own, so that its processor time is known apart. It says `begin` when the
//! warm-up is over, and `end` with an [`Outcome`] when the window is.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::processor::{self, Spent, Watched};

/// Until a generator is given up: longer than any of them takes on a machine that measures anything. The longest fill a queue
/// with 2,000,000 messages, or wait 10 s for each of 100 revocations.
const PATIENCE: Duration = Duration::from_mins(20);

/// One load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Load {
    /// Requests over connections that are kept.
    Requests(Requests),
    /// A new connection, a full handshake and one request, again and again.
    Handshakes(Handshakes),
    /// Connections that did one request and are held open until standard input ends.
    Idle(Handshakes),
    /// Clients that are revoked while they speak.
    Revocations(Revocations),
    /// Confirmed publishes to RabbitMQ, and deliveries from it.
    Publish(Publish),
    /// Leases and completions until so many jobs are done.
    Drain(Drain),
    /// Multi-row inserts without anything around them.
    Rows(Rows),
}

/// Who is spoken to, and as whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// PEM: the root.
    pub(crate) ca: PathBuf,
    /// PEM: leaf and issuing CA.
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// How long.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) warm_up_ms: u64,
    pub(crate) window_ms: u64,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// `GET /health`.
    Health,
    /// `POST /api/v1/messages`.
    Message,
    /// `POST /api/v1/messages/batch` with so many.
    Batch(usize),
}

/// When the next request begins.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// When the one before is answered.
    Closed,
    /// At a fixed rate per second, answered or not; an answer's time counts from when its request was due.
    Open(f64),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Requests {
    pub(crate) target: Target,
    pub(crate) connections: usize,
    pub(crate) ask: Ask,
    pub(crate) pace: Pace,
    pub(crate) window: Window,
    /// Answers with this status say "not now"; they are counted apart and are no failures.
    pub(crate) refusal: Option<u16>,
    /// Holds requests back while too many messages are on their way.
    pub(crate) gate: Option<Gate>,
    /// Ends when so many messages were sent, instead of with the window.
    pub(crate) messages: Option<u64>,
}

/// What has been delivered, by a counter of a management listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub(crate) management: SocketAddr,
    pub(crate) counter: String,
    /// Messages sent and not delivered, at most.
    pub(crate) most: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Handshakes {
    pub(crate) target: Target,
    /// At once; of idle ones, in all.
    pub(crate) connections: usize,
    pub(crate) window: Window,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Revocations {
    pub(crate) targets: Vec<Client>,
    /// As an operator.
    pub(crate) database_url: String,
    /// The first so many of `targets` are revoked, one after another.
    pub(crate) revoke: usize,
    /// Messages per second from all that are not.
    pub(crate) per_second: f64,
}

/// A registered client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) target: Target,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Publish {
    pub(crate) target: Target,
    pub(crate) queue: String,
    pub(crate) connections: usize,
    /// Not confirmed yet, per connection.
    pub(crate) in_flight: usize,
    /// Consume and acknowledge too, with at most so many published and not acknowledged.
    pub(crate) deliver: Option<u64>,
    pub(crate) window: Window,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Drain {
    pub(crate) target: Target,
    /// Lease and complete loops.
    pub(crate) connections: usize,
    /// Jobs per lease.
    pub(crate) batch: usize,
    /// Jobs in all.
    pub(crate) jobs: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rows {
    /// As the owner.
    pub(crate) database_url: String,
    /// The table whose rows are copied, under new ids.
    pub(crate) like: String,
    pub(crate) connections: usize,
    pub(crate) per_statement: usize,
    pub(crate) window: Window,
}

/// What was seen in the window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Of what the load is about: messages, handshakes, jobs, rows.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Answers that did any of it, however much each; a request is one, a batch too.
    pub(crate) answers: u64,
    /// Requests, or the like, that did none.
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
    /// Answers that said "not now".
    pub(crate) refused: u64,
    /// Of answers that were neither.
    pub(crate) latency: Option<Latency>,
    /// In milliseconds, where each event matters.
    pub(crate) times_ms: Vec<f64>,
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// What a generator writes, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Begin,
    End(Outcome),
    Failed(String),
}

/// Generates a load to its end, and says what `watched` and the generator spent in the window.
pub(crate) fn generate(load: &Load, watched: Vec<Watched>) -> anyhow::Result<(Outcome, Spent)> {
    let mut running = Running::start(load)?;
    let watched = [watched, vec![running.watched()]].concat();
    running.begin()?;
    let before = processor::look(&watched)?;
    let outcome = running.end()?;
    let after = processor::look(&watched)?;
    Ok((outcome.checked()?, processor::between(&before, &after)))
}

impl Outcome {
    /// Refuses a run of which more than one answer in a thousand was a failure: it measures something else.
    pub(crate) fn checked(self) -> anyhow::Result<Self> {
        let answers = self.answers + self.refused;
        if self.failures > answers / 1000 {
            let first = self.first_failure.as_deref().unwrap_or_default();
            bail!("{} failures beside {answers} answers; the first: {first}", self.failures);
        }
        anyhow::ensure!(self.count > 0 && self.seconds > 0.0, "nothing was counted");
        Ok(self)
    }

    /// Per second.
    pub(crate) fn rate(&self) -> f64 {
        self.counted() / self.seconds
    }

    /// Answers per second that said "not now".
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(crate) fn refused_rate(&self) -> f64 {
        self.refused as f64 / self.seconds
    }

    /// The count, to calculate with.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(crate) fn counted(&self) -> f64 {
        self.count as f64
    }
}

/// A generator at work. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    /// Starts one; the warm-up has begun when this returns.
    pub(crate) fn start(load: &Load) -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("cannot find out which executable this is")?;
        let mut child = Command::new(executable)
            .arg("generate")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start a generator")?;
        let lines = lines_of(child.stdout.take().context("a generator without standard output")?);
        let stdin = child.stdin.take();
        // from here on it is ended with this
        let mut running = Self { child, stdin, lines };
        let stdin = running.stdin.as_mut().context("a generator without standard input")?;
        writeln!(stdin, "{}", serde_json::to_string(load)?)?;
        Ok(running)
    }

    /// For its processor time.
    pub(crate) fn watched(&self) -> Watched {
        Watched::new("generator", self.child.id())
    }

    /// Waits for the end of the warm-up.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        match event(&self.lines, PATIENCE)? {
            Event::Begin => Ok(()),
            other => bail!("the generator said {other:?} before it began"),
        }
    }

    /// Waits for the end of the window.
    pub(crate) fn end(&mut self) -> anyhow::Result<Outcome> {
        match event(&self.lines, PATIENCE)? {
            Event::End(outcome) => Ok(outcome),
            other => bail!("the generator said {other:?} instead of what it saw"),
        }
    }

    /// Tells it to come to its end: only idle connections wait for this.
    pub(crate) fn let_go(&mut self) {
        self.stdin = None;
    }
}

/// What somebody writes, by a thread that ends when it does: a pipe cannot be waited for until a deadline.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut written = BufReader::new(output).lines().map_while(Result::ok);
        while written.next().is_some_and(|line| sender.send(line).is_ok()) {}
    });
    lines
}

/// The next event, or why there is none.
fn event(lines: &Receiver<String>, patience: Duration) -> anyhow::Result<Event> {
    let line = match lines.recv_timeout(patience) {
        Ok(line) => line,
        Err(RecvTimeoutError::Timeout) => bail!("the generator said nothing for {patience:?}"),
        Err(RecvTimeoutError::Disconnected) => bail!("the generator ended without a word"),
    };
    match serde_json::from_str(&line).with_context(|| format!("the generator said {line:?}"))? {
        Event::Failed(text) => bail!("the generator failed: {text}"),
        event => Ok(event),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // it keeps nothing, so there is nothing to ask it to finish
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_hangs_or_ends_is_an_error_and_not_waited_for() {
        let said = |output: &'static str| event(&lines_of(output.as_bytes()), Duration::from_mins(1));
        assert!(matches!(said("\"begin\"\n"), Ok(Event::Begin)));
        assert!(
            said("{\"failed\":\"no route\"}\n").is_err_and(|error| error.to_string().contains("no route"))
        );
        assert!(said("").is_err_and(|error| error.to_string().contains("without a word")));
        let (silent, lines) = mpsc::channel();
        let error = event(&lines, Duration::from_millis(1)).unwrap_err();
        assert!(error.to_string().contains("nothing for 1ms"), "{error}");
        drop(silent);
    }

    #[test]
    fn failures_are_held_against_answers_and_not_against_messages() {
        // 1,000 batches of 100
        let outcome = |failures| Outcome {
            count: 100_000,
            seconds: 1.0,
            answers: 1000,
            failures,
            ..Outcome::default()
        };
        assert!(outcome(1).checked().is_ok());
        assert!(outcome(2).checked().is_err());
        let refused = Outcome { refused: 1000, ..outcome(2) };
        assert!(refused.checked().is_ok(), "what says \"not now\" is an answer too");
    }
}
