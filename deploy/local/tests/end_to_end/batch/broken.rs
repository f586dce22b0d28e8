//! Uploads that break: nothing of them is stored.

use std::{io::Write as _, process::Stdio};

use local::{Stack, eventually};
use rustls::version::TLS13;
use serde_json::json;

use super::{PATH, each, message, post_lines, results, stored};
use crate::support::{DEADLINE, HELD_BODIES, PATIENT, Sender, caller::Caller, options, shared_stack};

#[test]
fn a_syntax_error_in_the_middle_of_an_array_refuses_the_whole_batch() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let good = message("good");
    for broken in [
        format!("[{good},{{\"a\":1,}},{good}]"),
        format!("[{good},{good} {good}]"),
        format!("[{good},,{good}]"),
        format!("[{good},{good}"),
        format!("[{good},{good}]]"),
        format!("[{good},{{\"sender_number\": +12}},{good}]"),
    ] {
        for http in ["--http1.1", "--http2"] {
            let answer = sender.curl.clone().flag(http).post(&sender.at(PATH), &broken).unwrap();
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "invalid_json"),
                "{broken}: {answer:?}"
            );
            assert!(answer.json().unwrap().get("results").is_none(), "{broken}");
        }
    }
    assert_eq!(stored(stack, &sender), "0");
}

#[test]
fn a_syntax_error_in_one_line_refuses_that_line_by_its_number() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let good = message("good");
    let answer = post_lines(&sender, &format!("{good}\n\n{{\"a\":1,}}\r\n{good}\r\n{{\"sender_num"));
    assert_eq!(each(&answer, "status"), [202, 400, 202, 400], "{answer:?}");
    let details: Vec<_> =
        results(&answer).iter().map(|one| one["detail"].as_str().unwrap_or("").to_owned()).collect();
    assert!(details[1].starts_with("line 3: ") && details[3].starts_with("line 5: "), "{details:?}");
    assert_eq!(stored(stack, &sender), "2");
}

#[test]
fn a_batch_whose_upload_is_cut_off_stores_nothing() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let line = format!("{}\n", message("good"));
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n");
    let lines = line.repeat(3);
    for sent in [
        format!("{head}Content-Length: {}\r\n\r\n{lines}", lines.len() + 1),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n", lines.len()),
    ] {
        let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
        call.send(sent.as_bytes()).unwrap();
        drop(call);
    }
    // what comes after it on the same way is stored
    let answer = post_lines(&sender, &line);
    assert_eq!(each(&answer, "status"), [202], "{answer:?}");
    assert_eq!(stored(stack, &sender), "1");
}

#[test]
fn a_batch_beyond_those_that_are_read_at_once_is_refused_until_one_of_them_ends() {
    let patch = format!("[batch]\nat_once = 1\n{HELD_BODIES}\n{PATIENT}");
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config(&patch)).unwrap();
    let (slow, sender) = (Sender::new(&stack), Sender::new(&stack));
    let line = message("x").to_string();
    let mut call = Caller::of(&slow.client, &TLS13).connect(stack.url()).unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonl\r\n");
    call.send(format!("{head}Content-Length: {}\r\n\r\n", line.len()).as_bytes()).unwrap();
    let refused = eventually(DEADLINE, || Some(post_lines(&sender, &line)).filter(|one| one.status != 200));
    let refused = refused.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"), "{refused:?}");
    assert_eq!(sender.post(&line).status, 202, "single messages are not held up");
    call.send(line.as_bytes()).unwrap();
    assert_eq!(call.answer().unwrap().0, 200);
    assert_eq!(post_lines(&sender, &line).status, 200);
}

#[test]
fn a_client_revoked_while_its_batch_arrives_is_refused_and_nothing_is_stored() {
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config(HELD_BODIES)).unwrap();
    let sender = Sender::new(&stack);
    let folder = tempfile::tempdir().unwrap();
    let verbose = folder.path().join("verbose");
    // 100 Continue says that the head was judged and the body is being read
    let mut curl = sender
        .curl
        .clone()
        .flag("--http1.1")
        .header("Expect: 100-continue")
        .header("Content-Type: application/x-ndjson")
        .command(&sender.at(PATH))
        .args(["--expect100-timeout", "30", "--verbose", "--request", "POST", "--upload-file", "-"])
        .args(["--write-out", "\n%{http_code}"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&verbose).unwrap())
        .spawn()
        .unwrap();
    let mut upload = curl.stdin.take().unwrap();
    upload.write_all(format!("{}\n", message("before")).as_bytes()).unwrap();
    let reading = eventually(DEADLINE, || {
        std::fs::read_to_string(&verbose).unwrap().contains("100 Continue").then_some(())
    });
    assert!(reading.is_some(), "{}", std::fs::read_to_string(&verbose).unwrap());

    let revoke = format!("UPDATE clients SET status = 'revoked' WHERE client_id = '{}'", sender.client.id);
    stack.sql(&revoke).unwrap();
    let in_force = eventually(DEADLINE, || (sender.get("/api/v1/whoami").status == 403).then_some(()));
    assert!(in_force.is_some());
    upload.write_all(format!("{}\n", message("after")).as_bytes()).unwrap();
    drop(upload);

    let output = String::from_utf8(curl.wait_with_output().unwrap().stdout).unwrap();
    let (problem, status) = output.rsplit_once('\n').unwrap();
    let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
    assert_eq!((status, &problem["code"]), ("403", &json!("certificate_revoked")), "{problem}");
    assert_eq!(stored(&stack, &sender), "0");
}
