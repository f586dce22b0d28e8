//! Jobs as a main server leases them, and a directory with the file that they are written to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails at once")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, value::RawValue};
use shared::{
    identity::{Fingerprint, Name},
    wire::lease::LeasedJob,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use uuid::Uuid;
use worker::sink::{JsonlOptions, Outcome, SharedSink, SinkError, SinkOptions};

/// A directory of its own for one test.
pub(crate) struct Directory(TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.0.path().join("received_messages.jsonl")
    }

    /// A sink as after a start of the worker, which remembers so many ids.
    pub(crate) fn open(&self, recent_ids: usize) -> SharedSink {
        open(self.output(), recent_ids).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.output()).unwrap()
    }

    /// The numbers of the messages in the file, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        numbers_in(&self.output())
    }
}

/// A sink on this file.
pub(crate) fn open(output: impl Into<PathBuf>, recent_ids: usize) -> Result<SharedSink, SinkError> {
    SharedSink::open(SinkOptions::Jsonl(JsonlOptions { output: output.into(), recent_ids }))
}

/// The numbers of the messages in a file, in order; every line must be whole.
pub(crate) fn numbers_in(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text}");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["metadata"]["n"].as_u64().unwrap())
        .collect()
}

/// A job that delivers message `number` for the `attempt`th time.
pub(crate) fn job(number: u64, attempt: u32) -> LeasedJob {
    let name = |text: &str| text.parse::<Name>().unwrap();
    let at = OffsetDateTime::from_unix_timestamp(1_795_000_000).unwrap();
    LeasedJob {
        job_id: Uuid::from_u128(0xA000_0000 + u128::from(number)),
        lease_token: Uuid::new_v4(),
        lease_expires_at: at,
        queue: name("default"),
        attempt,
        message_id: message_id(number),
        client_id: name("client_001"),
        cert_fingerprint: Fingerprint::of_der(b"certificate"),
        proxy: name("proxy-1"),
        request_id: Uuid::from_u128(7),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        sender_number: "+1234567890".to_owned(),
        message_body: "hello".to_owned(),
        metadata: Some(RawValue::from_string(format!("{{\"n\":{number}}}")).unwrap()),
        routing_key: None,
        queued_at: at,
    }
}

pub(crate) fn message_id(number: u64) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

/// First attempts of several messages.
pub(crate) fn jobs(numbers: impl IntoIterator<Item = u64>) -> Vec<LeasedJob> {
    numbers.into_iter().map(|number| job(number, 1)).collect()
}

/// Second attempts of several messages.
pub(crate) fn repeats(numbers: impl IntoIterator<Item = u64>) -> Vec<LeasedJob> {
    numbers.into_iter().map(|number| job(number, 2)).collect()
}

/// Delivers a batch; what became of each job, in order.
pub(crate) async fn deliver(sink: &SharedSink, jobs: Vec<LeasedJob>) -> Vec<Outcome> {
    let asked: Vec<_> = jobs.iter().map(|job| (job.job_id, job.lease_token)).collect();
    let answered = sink.turn().await.deliver(jobs).await;
    let named: Vec<_> = answered.iter().map(|(held, _)| (held.job_id, held.lease_token)).collect();
    assert_eq!(asked, named, "an answer for every job, in order");
    answered.into_iter().map(|(_, outcome)| outcome).collect()
}
