//! The command line of `send`, as far as it needs no proxy: what it refuses, and what it says when nobody answers.

use std::{net::TcpListener, process::Command};

use crate::support::{Pki, answer, command_line};

fn send(pki: &Pki, url: &str, more: &[&str]) -> Command {
    let mut command = command_line();
    command.args(["send", url, "--cacert", &pki.at("ca.crt")]).args(more);
    command
}

fn shown(pki: &Pki) -> [String; 4] {
    let file = |end: &str| pki.at(&format!("clients/client_001/client_001.{end}"));
    ["--cert".to_owned(), file("crt"), "--key".to_owned(), file("key")]
}

#[test]
fn a_command_line_that_makes_no_message_exits_with_2() {
    let pki = Pki::create();
    let one = ["--number", "+1234567890", "--text", "hello"];
    for (url, more) in [
        ("http://localhost:8001", &one[..]),
        ("https://localhost:8001", &["--text", "hello"]),
        ("https://localhost:8001", &["--number", "+12", "--file", "messages.ndjson"]),
        ("https://localhost:8001", &["--number", "+12", "--text", "x", "--metadata", "[1]"]),
        ("https://localhost:8001", &["--number", "+12", "--text", "x", "--idempotency-key", "two words"]),
        ("https://localhost:8001", &["--number", "+12", "--text", "x", "--key", "k.key"]),
    ] {
        let refused = answer(send(&pki, url, more));
        assert_eq!(refused.code, Some(2), "{url} {more:?}: {refused:?}");
    }
}

#[test]
fn without_a_certificate_nothing_is_sent() {
    let pki = Pki::create();
    let refused = answer(send(&pki, "https://localhost:1", &["--number", "+1234567890", "--text", "hello"]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.error.contains("give --cert and --key, or --p12"), "{refused:?}");
}

#[test]
fn when_nobody_answers_the_key_that_makes_repeating_safe_is_told() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    let closed =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map(|at| at.port());
    let url = format!("https://localhost:{}", closed.unwrap_or(1));
    let one = ["--number", "+1234567890", "--text", "hello", "--max-time", "100ms"];
    let mut command = send(&pki, &url, &one);
    command.args(shown(&pki)).args(["--idempotency-key", "order-7"]);
    let gave_up = answer(command);
    assert_eq!(gave_up.code, Some(1));
    for word in ["gave up", "refused", "--idempotency-key order-7", "portcullis-certs doctor"] {
        assert!(gave_up.error.contains(word), "{word:?} is not in {gave_up:?}");
    }
}
