//! One message is one trace: from its sender's span over proxy, main server and queue to the worker, at a collector that
//! takes OTLP; and nothing of it, but what the sender said, where no collector is named.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;

use local::{Stack, StackOptions, eventually};
use serde_json::Value;
use tokio::net::TcpSocket;

use crate::{
    support::{
        DEADLINE, Sender,
        collector::{Collector, Seen},
        options, shared_stack,
    },
    traffic::{id_of, metric},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const BODY: &str = r#"{"sender_number":"+4915112345678","message_body":"secret-text-9c1f"}"#;

fn exporting(address: &str, more: &str) -> StackOptions {
    let otlp = format!("[telemetry.otlp]\nendpoint = 'http://{address}/v1/traces'\n{more}");
    options().proxy_config(&otlp).main_server_config(&otlp).worker_config(&otlp)
}

/// Posts a message in this trace, and answers its id.
fn post_in(sender: &Sender, traceparent: &str) -> String {
    let curl = sender.curl.clone().header(&format!("traceparent: {traceparent}"));
    let answer = curl.post(&sender.at("/api/v1/messages"), BODY).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    id_of(&answer)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The one span of this service in the trace, if it is there.
fn span_of(seen: &[Seen], service: &str) -> Option<Seen> {
    let mut of_trace = seen.iter().filter(|one| hex(&one.span.trace_id) == TRACE && one.service == service);
    let span = of_trace.next().cloned();
    assert!(of_trace.next().is_none(), "{service}: more than one span: {seen:?}");
    span
}

fn traceparent_at_the_sink(stack: &Stack, message: &str) -> Value {
    let line = stack.wait_for_delivery(message, DEADLINE).unwrap();
    serde_json::from_str::<Value>(&line).unwrap()["traceparent"].take()
}

#[test]
fn a_message_is_one_trace_from_its_sender_to_the_worker_which_links_to_where_it_came_from() {
    let collector = Collector::open();
    let stack = Stack::start(exporting(&collector.address.to_string(), "ratio = 0.0")).unwrap();
    let sender = Sender::new(&stack);
    // whose beginning decided that it is not recorded, and one that begins here with a ratio of nothing
    post_in(&sender, &format!("00-{}-{CALLER}-00", "ab".repeat(16)));
    assert_eq!(sender.post(BODY).status, 202);
    let message = post_in(&sender, &format!("00-{TRACE}-{CALLER}-01"));

    let services = ["portcullis-proxy", "portcullis-server", "portcullis-worker"];
    let all = || {
        let seen = collector.seen();
        let [proxy, server, worker] = services.map(|service| span_of(&seen, service));
        Some([proxy?, server?, worker?])
    };
    let spans = eventually(DEADLINE, all);
    let [proxy, server, worker] = spans.unwrap_or_else(|| panic!("{:?}", collector.seen()));
    let own = hex(&proxy.span.span_id);
    assert_eq!(proxy.span.name, "POST /api/v1/messages");
    assert_eq!(hex(&proxy.span.parent_span_id), CALLER);
    assert_eq!(proxy.attribute("http.response.status_code").as_deref(), Some("202"));
    assert_eq!(proxy.attribute("portcullis.client_id").as_deref(), Some(sender.client.id.as_str()));
    for stage in ["receive", "wait", "store"] {
        assert!(proxy.attribute(&format!("portcullis.{stage}_seconds")).is_some(), "{stage}: {proxy:?}");
    }
    for later in [&server, &worker] {
        assert_eq!(hex(&later.span.parent_span_id), own, "{later:?}");
        assert_eq!(later.attribute("messaging.message.id").as_deref(), Some(message.as_str()));
        assert!(later.span.end_time_unix_nano >= later.span.start_time_unix_nano);
    }
    assert_eq!(server.span.name, "queue.submit");
    assert_eq!(worker.span.name, "deliver");
    let links: Vec<_> =
        worker.span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
    assert_eq!(links, [(TRACE.to_owned(), own.clone())]);
    assert_eq!(traceparent_at_the_sink(&stack, &message), format!("00-{TRACE}-{own}-01"));

    // the last batches are exported when the processes stop; none of another trace ever was
    stack.stop().unwrap();
    let seen = collector.seen();
    assert_eq!(seen.len(), 3, "{seen:?}");
    let told = format!("{seen:?}");
    assert!(!told.contains("secret-text") && !told.contains("+49151"), "{told}");
}

#[test]
fn a_trace_that_begins_here_is_recorded_and_carried_on() {
    let collector = Collector::open();
    let stack = Stack::start(exporting(&collector.address.to_string(), "")).unwrap();
    let sender = Sender::new(&stack);
    let answer = sender.post(BODY);
    let carried = traceparent_at_the_sink(&stack, &id_of(&answer));
    let carried = carried.as_str().unwrap();
    assert!(carried.starts_with("00-") && carried.ends_with("-01"), "{carried}");
    stack.stop().unwrap();
    let deliveries: Vec<_> =
        collector.seen().into_iter().filter(|one| one.service == "portcullis-worker").collect();
    let [delivery] = &deliveries[..] else { panic!("{deliveries:?}") };
    assert_eq!(hex(&delivery.span.trace_id), carried[3..35]);
}

#[test]
fn a_collector_that_is_away_holds_up_no_message_and_is_told_of_once() {
    // bound and never listened on: whoever connects is refused, and nobody else gets the port meanwhile
    let away = TcpSocket::new_v4().unwrap();
    away.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = away.local_addr().unwrap().to_string();
    let stack = Stack::start(exporting(&address, "timeout = '1s'")).unwrap();
    let (sender, proxy) = (Sender::new(&stack), &stack.proxies[0].process);
    for _ in 0..2 {
        assert_eq!(sender.post(BODY).status, 202);
        let failed = || metric(proxy, "portcullis_trace_spans_total{outcome=\"failed\"}");
        let before = failed();
        assert!(eventually(DEADLINE, || (failed() > before).then_some(())).is_some());
    }
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert_eq!(log.matches("spans cannot be exported").count(), 1, "{log}");
}

#[test]
fn without_a_collector_the_senders_own_span_reaches_the_worker() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let message = post_in(&sender, &traceparent);
    assert_eq!(traceparent_at_the_sink(stack, &message), traceparent);
    let message = post_in(&sender, "00-no-trace-01");
    assert_eq!(traceparent_at_the_sink(stack, &message), Value::Null);
}
