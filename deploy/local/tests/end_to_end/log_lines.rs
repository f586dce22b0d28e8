//! Whoever chooses a name cannot choose a log line: names in certificates with line ends, NULs and what turns text
//! around reach every process, refused and admitted, and each line of each log stays one, as text and as JSON.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;

use certs::{LeafRequest, ServiceRequest};
use local::{Curl, Process, Stack, eventually};
use serde_json::Value;
use shared::identity::Role;

use crate::support::{
    DEADLINE,
    holder::{Holder, expired, new_name, request},
    options,
};

/// The begin of a line that none of us wrote.
const FORGED: &str = "2026-11-21T12:51:29.531102Z  INFO access: request status=202 client_id=forged";
/// What must be in no log at all: of a body, a number, an idempotency key.
const SECRETS: [&str; 3] = ["secret-text-9c1f", "+4915112345678", "secret-key-77aa"];

fn evil_names() -> [String; 4] {
    [
        format!("a\r\n{FORGED}"),
        format!("b\0\n{FORGED}\0"),
        format!("c\u{202e}\u{2066}\u{2028}{FORGED}\u{85}\u{feff}"),
        format!("d\u{1b}[2J\u{7f}\u{b}{FORGED}\""),
    ]
}

fn named(request: LeafRequest, name: &str) -> LeafRequest {
    LeafRequest { common_name: name.to_owned(), organizational_unit: Some(name.to_owned()), ..request }
}

/// Everybody who can have such a name asks: at the client door, and at the main server's.
fn ask_under(stack: &Stack, evil: &str) {
    let authority = stack.authority();
    let clients = authority.clients();
    let own = new_name();
    let post = |curl: &Curl| {
        let body = format!("{{\"sender_number\":\"{}\",\"message_body\":\"{}\"}}", SECRETS[1], SECRETS[0]);
        let curl = curl.clone().header(&format!("idempotency-key: \"{}\"", SECRETS[2]));
        curl.post(&format!("{}/api/v1/messages", stack.url()), &body).unwrap()
    };
    // admitted: the row decides, whatever the certificate calls itself
    let admitted = Holder::of(stack, clients.sign(&named(request(stack, &own), evil)).unwrap());
    admitted.register_as(stack, &own);
    let answered = eventually(DEADLINE, || (post(&admitted.curl()).status == 202).then_some(()));
    assert!(answered.is_some(), "{:?}", post(&admitted.curl()));
    // verified and refused: nobody knows it; it has expired
    let unknown = Holder::of(stack, clients.sign(&named(request(stack, &new_name()), evil)).unwrap());
    assert_eq!(post(&unknown.curl()).code(), "certificate_unknown");
    let ended = Holder::of(stack, clients.sign(&expired(named(request(stack, &own), evil))).unwrap());
    assert_eq!(post(&ended.curl()).code(), "certificate_expired");
    // not believed
    let stranger = Holder::of(stack, named(request(stack, &own), evil).self_signed().unwrap());
    assert_eq!(post(&stranger.curl()).status, 0);
    // a service of ours by its CA, and nobody's by the table
    let role = |role| authority.service_leaf(role, &own, &ServiceRequest::default());
    for (door, role) in [
        (&stack.main_servers[0].url, role(Role::Proxy)),
        (&stack.main_servers[0].worker_url, role(Role::Worker)),
    ] {
        let leaf = authority.services().sign(&named(role, evil)).unwrap();
        let answer = Holder::of(stack, leaf).curl().get(&format!("{door}/openapi.json")).unwrap();
        assert_eq!(answer.status, 403, "{answer:?}");
        assert_eq!(stranger.curl().get(&format!("{door}/openapi.json")).unwrap().status, 0);
    }
    // and what a head may say
    let curl = admitted.curl().header("traceparent: 00-\u{202e}\u{85}-x").flag("--path-as-is");
    curl.get(&format!("{}/%0d%0a{}/\u{202e}", stack.url(), "x".repeat(20))).unwrap();
}

/// What would make a line end, or show as something else.
fn misleads(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn is_text_line(line: &str) -> bool {
    // 2026-11-21T12:51:29.531102Z, then the level
    let (time, rest) = line.split_at_checked(27).unwrap_or_default();
    let levels = ["ERROR", " WARN", " INFO", "DEBUG", "TRACE"];
    time.ends_with('Z') && time.starts_with("20") && levels.iter().any(|level| rest[1..].starts_with(level))
}

fn is_json_line(line: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|line| line["level"].is_string() && line["target"].is_string())
}

fn check(process: &Process, is_line: fn(&str) -> bool) {
    let log = fs::read_to_string(&process.log).unwrap();
    assert!(log.lines().count() > 5, "{log}");
    for line in log.lines() {
        assert!(is_line(line), "{}: {line:?}", process.name);
        assert!(!line.starts_with(FORGED), "{}: {line:?}", process.name);
        assert!(!line.chars().any(misleads), "{}: {line:?}", process.name);
    }
    for secret in SECRETS {
        let told = log.lines().find(|line| line.contains(secret));
        assert!(told.is_none(), "{}: {told:?}", process.name);
    }
}

fn each_line_stays_one(format: &str, is_line: fn(&str) -> bool) {
    // at debug, because refused handshakes are told of there
    let log = format!("[log]\nformat = '{format}'\nlevel = 'debug'");
    let options = options().proxy_config(&log).main_server_config(&log).worker_config(&log);
    let stack = Stack::start(options).unwrap();
    for evil in &evil_names() {
        ask_under(&stack, evil);
    }
    let delivered = || stack.delivered().unwrap().len() >= evil_names().len();
    assert!(eventually(DEADLINE, || delivered().then_some(())).is_some());
    stack.stop().unwrap();
    for process in stack.processes() {
        check(process, is_line);
    }
}

#[test]
fn no_name_makes_another_line_of_text() {
    each_line_stays_one("text", is_text_line);
}

#[test]
fn no_name_makes_another_line_of_json() {
    each_line_stays_one("json", is_json_line);
}
