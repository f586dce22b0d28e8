//! An answer that comes while the client still sends: it is not lost, not once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::thread;

use local::{Answer, Stack};

use super::{update, wait_for_status};
use crate::support::{Sender, shared_stack};

/// Runs `ask` 200 times, eight at a time, and answers those whose 403 curl did not see.
fn failures_out_of_200(ask: impl Fn() -> Answer + Sync) -> Vec<Answer> {
    let ask = &ask;
    thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(move || (0..25).map(|_| ask()).filter(unseen).collect::<Vec<_>>()))
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    })
}

fn unseen(answer: &Answer) -> bool {
    (answer.exit_code, answer.status) != (0, 403) || answer.code() != "certificate_revoked"
}

/// A revoked client, and the URL it posts to.
fn revoked(stack: &Stack) -> (Sender, String) {
    let sender = Sender::new(stack);
    update(stack, &sender.client, "status = 'revoked'");
    wait_for_status(stack, &sender.curl, 403);
    let url = sender.at("/api/v1/messages");
    (sender, url)
}

#[test]
fn curl_sees_the_403_every_time_with_64_kib_unread() {
    let (sender, url) = revoked(shared_stack());
    for http in ["--http1.1", "--http2"] {
        let curl = sender.curl.clone().flag(http);
        let failures = failures_out_of_200(|| curl.post(&url, vec![b'x'; 64 * 1024]).unwrap());
        assert!(failures.is_empty(), "{http}: {} of 200, first: {:?}", failures.len(), failures[0]);
    }
}

#[test]
fn curl_sees_the_403_every_time_while_it_sends_without_end() {
    let (sender, url) = revoked(shared_stack());
    for http in ["--http1.1", "--http2"] {
        // Without Expect, curl would send nothing before it has been told to go on.
        let curl = sender.curl.clone().flag(http).header("Expect:").header("Content-Type: application/json");
        let endless = curl.with("--upload-file", "/dev/zero").with("--request", "POST");
        let failures = failures_out_of_200(|| endless.get(&url).unwrap());
        assert!(failures.is_empty(), "{http}: {} of 200, first: {:?}", failures.len(), failures[0]);
    }
}
