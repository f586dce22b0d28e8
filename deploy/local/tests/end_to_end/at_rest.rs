//! Nothing in clear: what a client sends and a sink says is on no disk but the sink's, in no encoding that somebody
//! would look for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod search;

use certs::ServiceRequest;
use local::{Curl, Stack, eventually};
use private_postgres::{ClusterOptions, psql};
use serde_json::{Value, json};
use shared::identity::Role;

use self::search::{found_in, found_without_nuls, secrets_file, written};
use crate::support::{
    DEADLINE, Sender,
    holder::{Holder, new_name},
    options,
};

const BODY: &str = "brimstone butterfly 83461";
const NUMBER: &str = "+4915177283946";
const METADATA: &str = "metadata canary 52917";
const KEY: &str = "idempotency-canary-66182";
const ITEM_KEY: &str = "item-canary-27405";
const SINK_ERROR: &str = "sink canary 90155 said no";
const DIGITS: &str = "4915177283946";
const SECRETS: [&str; 6] = [BODY, DIGITS, METADATA, KEY, ITEM_KEY, SINK_ERROR];
/// Written by the test itself, so that a search that finds nothing is known to be able to find.
const CONTROL: &str = "control canary 31337";

fn message(note: &str) -> Value {
    json!({ "sender_number": NUMBER, "message_body": format!("{BODY} {note}"), "metadata": { "tag": METADATA } })
}

/// A worker that does as the test says.
struct Hand {
    curl: Curl,
    url: String,
}

impl Hand {
    fn of(stack: &Stack) -> Self {
        let name = new_name();
        let issued =
            stack.authority().issue_service(Role::Worker, &name, &ServiceRequest::default()).unwrap();
        let holder = Holder::of(stack, issued.leaf);
        let row = format!(
            "INSERT INTO services (service_id, role, cert_fingerprint, expires_at) \
             VALUES ('{name}', 'worker', '{}', NOW() + INTERVAL '1 day')",
            holder.leaf.fingerprint()
        );
        stack.sql(&row).unwrap();
        let hand = Self { curl: holder.curl(), url: stack.main_servers[0].worker_url.clone() };
        // no job is asked for: an admitted worker is told so
        let nothing = json!({ "queue": "default", "max": 0 });
        let admitted = || (hand.post("lease", &nothing).0 == 400).then_some(());
        assert!(eventually(DEADLINE, admitted).is_some());
        hand
    }

    fn post(&self, verb: &str, body: &Value) -> (u16, Value) {
        let answer = self.curl.post(&format!("{}/api/v1/jobs/{verb}", self.url), body.to_string()).unwrap();
        (answer.status, answer.json().unwrap_or_default())
    }

    fn lease(&self) -> Vec<Value> {
        let (status, answer) = self.post("lease", &json!({ "queue": "default", "max": 10 }));
        assert_eq!(status, 200, "{answer}");
        answer["jobs"].as_array().unwrap().clone()
    }
}

/// Everything a message can go through: stored, replayed, refused, leased, failed, dead, delivered, asked about.
fn send_through(stack: &mut Stack) {
    let sender = Sender::new(stack);
    let with_key = sender.curl.clone().header(&format!("Idempotency-Key: \"{KEY}\""));
    for _ in 0..2 {
        let answer = with_key.post(&sender.at("/api/v1/messages"), message("one").to_string()).unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let conflict = with_key.post(&sender.at("/api/v1/messages"), message("other").to_string()).unwrap();
    assert_eq!(conflict.code(), "idempotency_conflict");
    let mut item = message("two");
    item["idempotency_key"] = ITEM_KEY.into();
    let batch = json!([item, message("three")]).to_string();
    assert_eq!(sender.curl.post(&sender.at("/api/v1/messages/batch"), batch).unwrap().status, 200);
    let mut invalid = message("refused");
    invalid["sender_number"] = format!("{NUMBER} x").into();
    assert_eq!(sender.post(&invalid.to_string()).status, 400);

    let hand = Hand::of(stack);
    let jobs = hand.lease();
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    assert!(jobs[0]["message_body"].as_str().unwrap().starts_with(BODY));
    let failed = |(number, job): (usize, &Value)| {
        json!({ "job_id": job["job_id"], "lease_token": job["lease_token"], "error": format!("{SINK_ERROR}: {BODY}"),
                "delay_seconds": 0, "dead": number == 0 })
    };
    let failed: Vec<_> = jobs.iter().enumerate().map(failed).collect();
    assert_eq!(hand.post("fail", &json!({ "jobs": failed })).0, 200);
    stack.add_worker("[log]\nlevel = 'debug'").unwrap();
    for job in &jobs[1..] {
        stack.wait_for_delivery(job["message_id"].as_str().unwrap(), DEADLINE).unwrap();
    }
    let status = sender.get(&format!("/api/v1/messages/{}", jobs[0]["message_id"].as_str().unwrap()));
    assert_eq!(status.json().unwrap()["status"], "failed", "{status:?}");
}

#[test]
fn nothing_that_was_sent_lies_in_clear_on_a_disk_of_ours() {
    // the database's own log of every statement, with its parameters, is searched too
    let cluster = ClusterOptions::throw_away().setting("log_statement", "all").setting("work_mem", "64kB");
    let debug = "[log]\nlevel = 'debug'";
    let options = options().own_cluster(cluster).processes(1, 1, 0);
    let mut stack = Stack::start(options.proxy_config(debug).main_server_config(debug)).unwrap();
    send_through(&mut stack);
    let control: Vec<String> = written(CONTROL).iter().map(|text| format!("('{text}'::bytea)")).collect();
    let control =
        format!("CREATE TABLE control AS SELECT * FROM (VALUES {}) v; CHECKPOINT", control.join(","));
    psql(stack.owner_url(), &control).unwrap();

    let cluster = stack.postgres().unwrap();
    let logs: Vec<_> = stack.processes().map(|process| process.log.clone()).collect();
    let places = [&[cluster.data().to_owned(), cluster.log().to_owned()], logs.as_slice()].concat();
    for secret in SECRETS {
        let patterns = secrets_file(secret);
        assert_eq!(found_in(&places, &patterns), "", "{secret}");
        assert!(!found_without_nuls(&places, &patterns), "{secret}, in UTF-16");
    }

    // The same searches find what is there: in each encoding, in tables, in the write-ahead log and in the log.
    let patterns = secrets_file(CONTROL);
    let found = found_in(&places, &patterns);
    for place in ["/base/", "/pg_wal/"] {
        assert!(found.contains(place), "{place} in {found}");
    }
    assert!(found.contains(&*cluster.log().to_string_lossy()), "{found}");
    for text in written(CONTROL) {
        let alone = [stack.folder().join("control")];
        std::fs::write(&alone[0], search::bytes(&text)).unwrap();
        assert!(!found_in(&alone, &patterns).is_empty() || found_without_nuls(&alone, &patterns), "{text}");
    }
    // and our own logs are there to be searched: the proxy's names the client
    let client = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(client.path(), "fresh_0001\n").unwrap();
    assert!(!found_in(&logs, &client).is_empty());
}

#[test]
fn a_running_stack_takes_a_new_key_and_seals_anew_what_it_has() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let sender = Sender::new(&stack);
    let send = |text| {
        let answer = sender.post_message(text);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json().unwrap()["message_id"].as_str().unwrap().to_owned()
    };
    let sealed_under = |id: &str| {
        let query = format!("SELECT key_id FROM messages WHERE message_id = '{id}'");
        psql(stack.owner_url(), &query).unwrap().trim().to_owned()
    };
    let old = send("under the old key");
    assert_eq!(sealed_under(&old), "k1");
    let key = main_server::seal::add_key(&stack.folder().join("keyring.toml")).unwrap();
    let resealed = eventually(DEADLINE, || (sealed_under(&old) == key.as_str()).then_some(()));
    assert!(resealed.is_some(), "still under {}", sealed_under(&old));
    let new = send("under the new key");
    assert_eq!(sealed_under(&new), key.as_str());
    let (_, ready) = stack.main_servers[0].process.get("/readyz").unwrap();
    assert!(ready.contains("2 keys, k2 is current"), "{ready}");
    let jobs = Hand::of(&stack).lease();
    let texts: Vec<_> = jobs.iter().map(|job| job["message_body"].as_str().unwrap()).collect();
    assert_eq!(texts, ["under the old key", "under the new key"]);
}
