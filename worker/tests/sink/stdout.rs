//! Standard output, here a pipe: what its reader gets, and what is said when nobody reads.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails at once")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read as _},
    process::Command,
};

use serde_json::Value;
use worker::sink::{
    Outcome::{self, Failed, Written},
    SharedSink, StandardOutput,
};

use crate::support::{deliver, job, jobs};

/// A sink that writes into a pipe, and the pipe's other end.
fn pipe() -> (SharedSink, BufReader<std::io::PipeReader>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let sink = StandardOutput::over(File::from(std::os::fd::OwnedFd::from(writer)));
    (SharedSink::over(Box::new(sink)), BufReader::new(reader))
}

/// What becomes of two jobs once nobody reads. A child that another test starts has the reading end too, until it has
/// become its program.
async fn refused(sink: &SharedSink) -> Vec<Outcome> {
    loop {
        let outcomes = deliver(sink, jobs([2, 3])).await;
        if outcomes != [Written, Written] {
            return outcomes;
        }
    }
}

#[tokio::test]
async fn a_line_is_with_the_reader_when_its_job_counts_as_written() {
    let (sink, mut reader) = pipe();
    let mut expected = serde_json::to_value(job(1, 1)).unwrap();
    assert_eq!(deliver(&sink, jobs([1, 2])).await, [Written, Written]);
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        reader.read_line(line).unwrap();
    }
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    // each job has a token of its own, which is on no line
    expected.as_object_mut().unwrap().remove("lease_token").unwrap();
    assert_eq!(line, expected);
    assert!(lines[1].ends_with("}\n"), "{lines:?}");
}

#[tokio::test]
async fn a_broken_pipe_is_trouble_and_nothing_counts_as_written() {
    let (sink, reader) = pipe();
    assert_eq!(deliver(&sink, jobs([1])).await, [Written]);
    drop(reader);
    let refused = refused(&sink).await;
    assert!(refused.iter().all(|outcome| matches!(outcome, Failed(why) if why.contains("standard output"))));
    assert!(sink.trouble().is_some());
    sink.retry().await;
    assert!(sink.trouble().is_some(), "nobody reads yet");
}

#[tokio::test]
async fn after_the_reader_came_back_every_line_is_whole_and_the_refused_ones_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // both ends at once, so that opening does not wait for the other one
    let reader = File::options().read(true).write(true).open(&path).unwrap();
    let sink = StandardOutput::over(File::options().write(true).open(&path).unwrap());
    let sink = SharedSink::over(Box::new(sink));
    drop(reader);
    assert!(matches!(refused(&sink).await[..], [Failed(_), Failed(_)]));

    let reader = File::options().read(true).write(true).open(&path).unwrap();
    sink.retry().await;
    assert_eq!(sink.trouble(), None);
    assert_eq!(deliver(&sink, vec![job(1, 2), job(2, 1)]).await, [Written, Written]);
    drop(sink);
    let mut text = vec![0; 64 * 1024];
    let read = BufReader::new(reader).read(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..read]).into_owned();
    let attempts: Vec<_> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["attempt"].as_u64().unwrap())
        .collect();
    assert_eq!(attempts, [2, 1], "{text}");
    fs::remove_file(path).unwrap();
}
