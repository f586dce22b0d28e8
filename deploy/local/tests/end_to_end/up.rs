//! `portcullis-local up` as people and scripts use it: started, used, stopped, killed, started again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod supervisor;

use std::{collections::BTreeSet, fs, path::Path};

use local::Curl;
use private_postgres::psql;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use self::supervisor::{Up, command, pid, text, value_of, wait_until_acknowledged, wait_until_gone};

fn members(value: &Value) -> String {
    let mut members: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    members.join(" ")
}

/// The client of `/clients/INDEX`, by nothing but the record.
fn curl_of(record: &Value, index: usize) -> Curl {
    Curl::believing(Path::new(text(record, "/ca"))).with_certificate(
        Path::new(text(record, &format!("/clients/{index}/cert"))),
        Path::new(text(record, &format!("/clients/{index}/key"))),
    )
}

#[test]
fn stack_json_has_the_agreed_shape_and_everything_in_it_can_be_used_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(&folder.path().join("state"), 3);
    let record = up.wait_until_up();
    assert!(up.output().contains("the answer: 202"), "{}", up.output());

    let all = "ca client clients database_url main_server main_servers pids pki proxies proxy worker workers";
    assert_eq!(members(&record), all);
    assert_eq!(members(&record["pids"]), "main_server postgres proxy worker");
    for (one, several, shape) in [
        ("proxy", "proxies", "management pid url"),
        ("main_server", "main_servers", "management pid url worker_url"),
        ("worker", "workers", "cert key management output pid"),
    ] {
        assert_eq!(members(&record[one]), shape, "{one}");
        assert_eq!(record[several], Value::Array(vec![record[one].clone()]));
        assert_eq!(record["pids"][one], record[one]["pid"]);
        let management = text(&record, &format!("/{one}/management"));
        let port = management.strip_prefix("http://127.0.0.1:").unwrap();
        assert!(port.parse::<u16>().is_ok(), "{management}");
        assert_eq!(Curl::default().get(&format!("{management}/readyz")).unwrap().status, 200);
    }
    for url in ["/proxy/url", "/main_server/url", "/main_server/worker_url"] {
        let port = text(&record, url).strip_prefix("https://localhost:").unwrap();
        assert!(port.parse::<u16>().is_ok(), "{url}: {port}");
    }
    let processes = ["proxy", "main_server", "worker", "postgres"].map(|name| pid(&record["pids"][name]));
    assert!(processes.iter().all(|pid| Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()));

    assert_eq!(record["clients"].as_array().unwrap().len(), 3);
    assert_eq!(record["client"], record["clients"][0]);
    for index in 0..3 {
        assert_eq!(members(&record["clients"][index]), "cert id key");
        let id = format!("client_{:03}", index + 1);
        assert_eq!(text(&record, &format!("/clients/{index}/id")), id);
        let seen = curl_of(&record, index).get(&format!("{}/api/v1/whoami", text(&record, "/proxy/url")));
        assert_eq!(seen.unwrap().json().unwrap()["client_id"], id.as_str());
    }
    for chain in ["/client/cert", "/worker/cert"] {
        let pem = fs::read_to_string(text(&record, chain)).unwrap();
        assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2, "leaf and issuing CA in {chain}");
    }
    assert_eq!(Path::new(text(&record, "/pki")).join("ca.crt"), Path::new(text(&record, "/ca")));
    assert_eq!(fs::read_to_string(text(&record, "/worker/output")).unwrap().lines().count(), 1);
    // psql takes the URL, with an operator's right to change clients
    let revoke = "UPDATE clients SET status = 'revoked' WHERE client_id = 'client_003' RETURNING client_id";
    assert_eq!(psql(text(&record, "/database_url"), revoke).unwrap().trim(), "client_003");
}

#[test]
fn of_several_processes_stack_json_lists_each_and_every_one_has_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let several = ["--proxies", "2", "--main-servers", "3", "--workers", "2"];
    let mut up = Up::start_with(&folder.path().join("state"), &several);
    let record = up.wait_until_up();
    for (kind, list, count) in
        [("proxy", "proxies", 2), ("main_server", "main_servers", 3), ("worker", "workers", 2)]
    {
        let processes = record[list].as_array().unwrap();
        assert_eq!(processes.len(), count, "{list}");
        assert_eq!(processes[0], record[kind], "the first one stands alone, too");
        let pids: Vec<_> = processes.iter().map(|process| process["pid"].clone()).collect();
        assert_eq!(record["pids"][kind], Value::Array(pids));
        for member in ["url", "worker_url", "management", "cert", "output", "pid"] {
            let values: BTreeSet<_> = processes.iter().map(|process| process[member].to_string()).collect();
            assert!(
                values.len() == count || values == BTreeSet::from(["null".to_owned()]),
                "{member}: {values:?}"
            );
        }
    }
    // a message through each proxy, and certificates in the name of each process
    for proxy in 0..2 {
        let url = format!("{}/api/v1/messages", text(&record, &format!("/proxies/{proxy}/url")));
        let message = r#"{"sender_number": "+1234567890", "message_body": "through each"}"#;
        assert_eq!(curl_of(&record, 0).post(&url, message).unwrap().status, 202);
    }
    wait_until_acknowledged(&record);
    assert_eq!(value_of(&record, "SELECT count(*) FROM messages"), "3");
    assert_eq!(value_of(&record, "SELECT string_agg(DISTINCT proxy, ' ') FROM messages"), "proxy-1 proxy-2");
    let registered = "SELECT string_agg(service_id, ' ' ORDER BY service_id) FROM services";
    let names = "main-server-1 main-server-2 main-server-3 proxy-1 proxy-2 worker-1 worker-2";
    assert_eq!(value_of(&record, registered), names);
}

#[test]
fn a_second_up_on_a_folder_that_is_in_use_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut first = Up::start(&state, 1);
    let record = first.wait_until_up();
    let second = command(&state).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8_lossy(&second.stderr);
    assert!(error.contains("another portcullis-local") && error.contains("--state"), "{error}");
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(first.record()).unwrap()).unwrap(), record);
    let health = format!("{}/health", text(&record, "/proxy/url"));
    assert_eq!(curl_of(&record, 0).get(&health).unwrap().status, 200);
}

#[test]
fn asked_to_stop_it_leaves_only_its_state_and_comes_back_with_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut before: Option<Value> = None;
    for (start, signal) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let mut up = Up::start(&state, 2);
        let record = up.wait_until_up();
        assert!(up.output().contains("the answer: 202"), "{}", up.output());
        // each start sends one message; those of the starts before are still there
        let sent = (start + 1).to_string();
        assert_eq!(value_of(&record, "SELECT count(*) FROM messages"), sent);
        let output = fs::read_to_string(text(&record, "/worker/output")).unwrap();
        assert_eq!(output.lines().count().to_string(), sent);
        if let Some(before) = &before {
            for same in ["ca", "pki", "clients"] {
                assert_eq!(before[same], record[same]);
            }
            for same in ["/proxy/url", "/main_server/url", "/main_server/worker_url", "/worker/management"] {
                assert_eq!(text(before, same), text(&record, same));
            }
        }
        up.signal(signal);
        assert_eq!(up.wait().code(), Some(0), "{}", up.output());
        assert!(!up.record().exists());
        wait_until_gone(&state, &record);
        before = Some(record);
    }
}

#[test]
fn a_restart_keeps_certificates_and_replaces_those_that_were_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let certificates = |record: &Value| {
        [0, 1].map(|client| fs::read(text(record, &format!("/clients/{client}/cert"))).unwrap())
    };
    let mut first = Up::start(&state, 2);
    let record = first.wait_until_up();
    let [revoked, kept] = certificates(&record);
    let revoke = "UPDATE clients SET status = 'revoked' WHERE client_id = 'client_001'";
    psql(text(&record, "/database_url"), revoke).unwrap();
    drop(first);

    let mut again = Up::start(&state, 2);
    let record = again.wait_until_up();
    // the first client, whose certificate is final, has sent a message all the same
    assert!(again.output().contains("the answer: 202"), "{}", again.output());
    let now = certificates(&record);
    assert_ne!(now[0], revoked);
    assert_eq!(now[1], kept);
}

#[test]
fn nothing_survives_its_supervisor_killed_with_9_but_what_was_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut up = Up::start(&state, 1);
    let record = up.wait_until_up();
    wait_until_acknowledged(&record);
    up.signal(Signal::KILL);
    up.wait();
    wait_until_gone(&state, &record);

    let mut again = Up::start(&state, 1);
    let record = again.wait_until_up();
    assert_eq!(value_of(&record, "SELECT count(*) FROM messages"), "2");
}

#[test]
fn a_process_that_dies_stops_the_rest_and_is_named_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    for (process, name) in [("worker", "worker-1"), ("postgres", "postgres")] {
        let mut up = Up::start(&state, 1);
        let record = up.wait_until_up();
        kill_process(pid(&record["pids"][process]), Signal::KILL).unwrap();
        assert_eq!(up.wait().code(), Some(1));
        assert!(up.output().contains(&format!("error: {name} ended")), "{}", up.output());
        assert!(up.output().contains("the end of ") && up.output().contains(&format!("{name}.log")));
        wait_until_gone(&state, &record);
        assert!(!up.record().exists());
    }
}
