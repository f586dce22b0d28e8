//! The `OpenAPI` documents: what is served is what is checked in, and what is checked in is what there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::BTreeSet;

use local::{Client, Curl, Stack};
use serde_json::Value;
use shared::wire::Code;

use crate::support::{Sender, shared_stack};

const PROXY: &str = include_str!("../../../../docs/openapi/proxy.json");
const MAIN_SERVER: &str = include_str!("../../../../docs/openapi/main_server.json");
const MANAGEMENT: &str = include_str!("../../../../docs/openapi/management.json");

fn worker(stack: &Stack) -> Client {
    let worker = &stack.workers[0];
    Client {
        id: "worker-1".to_owned(),
        cert: worker.cert.clone(),
        key: worker.key.clone(),
        ca: stack.pki().join("ca.crt"),
    }
}

/// `GET /path`, as documented.
fn documented(document: &str) -> BTreeSet<String> {
    let document: Value = serde_json::from_str(document).unwrap();
    let of_path = |(path, operations): (&String, &Value)| {
        let methods: Vec<_> = operations.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        methods.into_iter().map(|method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    document["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
}

/// The same, as a page of routes has it: `.route("/path", get(…))`.
fn routed(source: &str) -> BTreeSet<String> {
    let (code, _tests) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
    let of_route = |route: &str| {
        let (path, rest) = route.trim_start().strip_prefix('"').unwrap().split_once('"').unwrap();
        let method = rest.trim_start_matches(',').trim_start().split('(').next().unwrap();
        format!("{} {path}", method.to_uppercase())
    };
    code.split(".route(").skip(1).map(of_route).collect()
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    assert_eq!(documented(PROXY), routed(include_str!("../../../../proxy/src/routes.rs")));
    let (internal, doors): (BTreeSet<_>, BTreeSet<_>) =
        routed(include_str!("../../../../main_server/src/routes.rs"))
            .into_iter()
            .partition(|route| route.contains(" /internal/"));
    assert_eq!(documented(MAIN_SERVER), doors);
    assert!(!internal.is_empty());
    assert_eq!(documented(MANAGEMENT), routed(include_str!("../../../../shared/src/management.rs")));
}

#[test]
fn every_problem_code_is_documented_under_its_status_and_no_other() {
    let known: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for document in [PROXY, MAIN_SERVER] {
        let document: Value = serde_json::from_str(document).unwrap();
        let listed = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
        let listed: BTreeSet<_> = listed.iter().map(|code| code.as_str().unwrap()).collect();
        assert_eq!(listed, known);
        for code in Code::ALL {
            let status = code.status().as_u16().to_string();
            let text = document["components"]["responses"][&status]["description"].as_str();
            let text =
                text.unwrap_or_else(|| panic!("no response {status} in {}", document["info"]["title"]));
            assert!(text.contains(&format!("`{code}`")), "{code} is not named by response {status}: {text}");
        }
    }
}

#[test]
fn every_listener_serves_the_document_of_what_it_answers() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let ask = |curl: Curl, url: &str| {
        let answer = curl.get(&format!("{url}/openapi.json")).unwrap();
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json")),
            "{answer:?}"
        );
        String::from_utf8(answer.body).unwrap()
    };
    // without showing them: they are long
    assert!(ask(Curl::of(&sender.client), stack.url()) == PROXY, "another document");
    let worker_url = &stack.main_servers[0].worker_url;
    assert!(ask(Curl::of(&worker(stack)), worker_url) == MAIN_SERVER, "another document");
    for process in stack.processes() {
        let served = ask(Curl::default(), &process.management());
        assert!(served == MANAGEMENT, "{} serves another document", process.name);
    }
}

#[test]
fn a_method_that_is_not_documented_is_refused_with_those_that_are() {
    let stack = shared_stack();
    let (client, worker) = (Sender::new(stack).client, worker(stack));
    let mut paths: Vec<_> =
        documented(PROXY).into_iter().map(|route| (route, stack.url(), &client)).collect();
    let workers = |route: &String| route.contains("/jobs/");
    let door = stack.main_servers[0].worker_url.as_str();
    paths.extend(documented(MAIN_SERVER).into_iter().filter(workers).map(|route| (route, door, &worker)));
    for (route, door, caller) in paths {
        let (method, path) = route.split_once(' ').unwrap();
        let answer = Curl::of(caller).flag("--request").flag("DELETE").get(&format!("{door}{path}")).unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (405, "method_not_allowed"),
            "{route}: {answer:?}"
        );
        let allowed = if method == "GET" { "GET,HEAD" } else { method };
        assert_eq!(answer.header("allow"), Some(allowed), "{route}");
    }
}
