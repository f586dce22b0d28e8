//! Bounds of connections as users meet them: connections that have served their time, and the main server's doors.

use local::{Client, Stack};
use rustls::version::TLS13;

use crate::{
    support::{PATIENT, Sender, caller::Caller, options, repeater::Repeater, shared_stack},
    traffic::metric,
};

#[test]
fn connections_that_have_served_their_time_cut_no_request_at_either_hop() {
    let few = "[limits]\nrequests = 5";
    let stack =
        Stack::start(options().proxy_config(&format!("{few}\n{PATIENT}")).main_server_config(few)).unwrap();
    let sender = Sender::new(&stack);
    for http in ["--http1.1", "--http2"] {
        let repeater = Repeater::start(&sender.curl.clone().flag(http), &sender.at("/api/v1/whoami"));
        for _ in 0..15 {
            repeater.wait_for(|answer| answer.status == 200);
        }
        let answers = repeater.results();
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        assert!(answers.iter().filter(|answer| answer.connections == 1).count() > 2, "{answers:?}");
    }
    for _ in 0..30 {
        let accepted = sender.post_message("on and on");
        assert_eq!(accepted.status, 202, "{accepted:?}");
    }
    let proxy = &stack.proxies[0].process;
    assert_eq!(metric(proxy, "portcullis_upstream_failures_total"), 0);
    let reached = "portcullis_limits_reached_total{door=\"proxy door\",limit=\"requests\"}";
    assert!(metric(&stack.main_servers[0].process, reached) > 2);
}

#[test]
fn the_main_servers_doors_hold_to_the_same_bounds_and_rules() {
    let stack = shared_stack();
    let worker = &stack.workers[0];
    let of_worker = Client {
        id: "worker-1".to_owned(),
        cert: worker.cert.clone(),
        key: worker.key.clone(),
        ca: stack.pki().join("ca.crt"),
    };
    let caller = Caller::of(&of_worker, &TLS13).speaking(b"http/1.1");
    let door = &stack.main_servers[0].worker_url;
    let get = |lines: &str| format!("GET /api/v1/queues HTTP/1.1\r\n{lines}\r\n");
    for (request, status, code) in [
        (get(""), 400, "invalid_request"),
        (get("Host: a\r\nHost: b\r\n"), 400, "invalid_request"),
        (get("Host: localhost\r\nX-A : 1\r\n"), 400, "invalid_request"),
        (get(&format!("Host: localhost\r\n{}", "X-A: 1\r\n".repeat(64))), 431, "head_too_large"),
        (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(9000)), 414, "uri_too_long"),
        // the same line is an operator's, and so refused for its role when it is well formed
        (get("Host: localhost\r\n"), 403, "role_not_admitted"),
    ] {
        let mut call = caller.connect(door).unwrap();
        call.send(request.as_bytes()).unwrap();
        let (seen, body) = call.answer().unwrap();
        assert_eq!(seen, status, "{request:.60}: {body}");
        assert!(body.contains(code), "{request:.60}: {body}");
    }
    let shown = "portcullis_limits_reached_total{door=\"worker door\",limit=\"headers\"}";
    assert!(metric(&stack.main_servers[0].process, shown) >= 1);
}
