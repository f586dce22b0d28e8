//! What a line holds, and how the file is made.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, value::RawValue};
use worker::sink::{Outcome, SinkError};

use crate::support::{Directory, deliver, job, jobs, open};

#[tokio::test]
async fn a_line_is_the_lease_job_without_its_token() {
    let directory = Directory::new();
    let job = job(1, 1);
    let mut expected = serde_json::to_value(&job).unwrap();
    expected.as_object_mut().unwrap().remove("lease_token").unwrap();
    let token = job.lease_token.to_string();

    assert_eq!(deliver(&directory.open(10), vec![job]).await, [Outcome::Written]);

    assert_eq!(serde_json::from_str::<Value>(&directory.text()).unwrap(), expected);
    assert!(!directory.text().contains(&token));
}

#[tokio::test]
async fn text_and_metadata_with_newlines_stay_one_line_and_keep_their_spelling() {
    let directory = Directory::new();
    let mut job = job(1, 1);
    job.message_body = "two\nlines\r\n\u{2028}and \"more\"".to_owned();
    job.metadata =
        Some(RawValue::from_string("{\n \"b\" : 1.50,\r\n\t\"a\" : \"x\\ny  z\" }".to_owned()).unwrap());
    let body = job.message_body.clone();

    deliver(&directory.open(10), vec![job]).await;

    let text = directory.text();
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.contains("\"metadata\":{\"b\":1.50,\"a\":\"x\\ny  z\"}"), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["message_body"], body);
}

#[tokio::test]
async fn batches_are_appended_in_order() {
    let directory = Directory::new();
    let sink = directory.open(10);
    deliver(&sink, jobs(0..3)).await;
    deliver(&sink, jobs(3..5)).await;
    drop(sink);
    deliver(&directory.open(10), jobs(5..6)).await;
    assert_eq!(directory.numbers(), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn concurrent_batches_do_not_mix_their_lines() {
    let directory = Directory::new();
    let sink = directory.open(1000);
    let (a, b, c) = tokio::join!(
        deliver(&sink, jobs(0..100)),
        deliver(&sink, jobs(100..200)),
        deliver(&sink, jobs(200..300))
    );
    assert!([a, b, c].concat().iter().all(|outcome| *outcome == Outcome::Written));
    let mut numbers = directory.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let directory = Directory::new();
    let _sink = directory.open(10);
    let mode = std::fs::metadata(directory.output()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_workers_on_one_file_are_refused() {
    let directory = Directory::new();
    let first = directory.open(10);
    let error = open(directory.output(), 10).unwrap_err();
    assert!(matches!(error, SinkError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("received_messages.jsonl") && text.contains("[sink] output"), "{text}");
    drop(first);
    assert!(open(directory.output(), 10).is_ok());
}

#[test]
fn an_output_that_is_no_file_is_refused_by_name() {
    let output = "/dev/null";
    let error = open(output, 10).unwrap_err();
    assert!(matches!(error, SinkError::NotAFile { .. }), "{error}");
    let missing = tempfile::tempdir().unwrap().path().join("no/such/folder.jsonl");
    let error = open(missing, 10).unwrap_err();
    assert!(error.to_string().contains("folder.jsonl"), "{error}");
}
