//! How a process ends when it is told to, and how all of them are replaced one after the other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{fs, net::TcpStream, thread};

use local::{Process, Stack, eventually};
use private_postgres::psql;
use rustix::process::Signal;
use rustls::version::TLS13;

use crate::{
    support::{
        DEADLINE, HELD_BODIES, Sender,
        caller::{Call, Caller},
        options,
        steady::{Speaking, Steady},
    },
    traffic::undelivered,
};

const MESSAGE: &str = r#"{"sender_number": "+1234567890", "message_body": "in hand"}"#;

/// A message of which half was sent.
fn half_sent(stack: &Stack, sender: &Sender) -> Call {
    let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    assert_eq!(call.get("/health").unwrap().0, 200);
    let head = format!(
        "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        MESSAGE.len()
    );
    call.send(head.as_bytes()).unwrap();
    // whoever is told to go on has been let in
    assert_eq!(call.read(12).unwrap(), b"HTTP/1.1 100");
    call.send(&MESSAGE.as_bytes()[..9]).unwrap();
    call
}

/// Asks a proxy to stop, and waits until a new probe hears of it and the door is closed.
fn begin_to_stop(stack: &Stack) {
    let proxy = &stack.proxies[0].process;
    proxy.signal(Signal::TERM);
    let said = eventually(DEADLINE, || {
        let (status, body) = proxy.get("/readyz").ok()?;
        (status == 503 && body.contains("\"stopping\"")).then_some(())
    });
    assert!(said.is_some(), "{}", proxy.log_tail());
    let closed = || TcpStream::connect(stack.url().strip_prefix("https://").unwrap()).is_err().then_some(());
    assert!(eventually(DEADLINE, closed).is_some(), "its door is still open\n{}", proxy.log_tail());
}

fn ended_well(process: &Process) {
    let status = eventually(DEADLINE, || process.ended());
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", process.log_tail());
}

fn log_of(process: &Process) -> String {
    fs::read_to_string(&process.log).unwrap()
}

#[test]
fn a_proxy_that_stops_says_so_to_new_probes_lets_nobody_in_and_finishes_what_it_took_on() {
    let stack = Stack::start(options().proxy_config(HELD_BODIES)).unwrap();
    let (proxy, sender) = (&stack.proxies[0].process, Sender::new(&stack));
    let mut call = half_sent(&stack, &sender);
    begin_to_stop(&stack);
    assert_eq!(proxy.get("/livez").unwrap().0, 200);
    assert_eq!(proxy.get("/metrics").unwrap().0, 200);
    call.send(&MESSAGE.as_bytes()[9..]).unwrap();
    let rest = call.read_to_close().unwrap();
    let answer = rest.to_ascii_lowercase();
    assert!(answer.contains("http/1.1 202") && answer.contains("connection: close"), "{rest}");
    ended_well(proxy);
    assert!(!log_of(proxy).contains("not finished in time"), "{}", proxy.log_tail());
    let id = psql(stack.owner_url(), "SELECT message_id FROM messages").unwrap();
    stack.wait_for_delivery(id.trim(), DEADLINE).unwrap();
}

#[test]
fn a_second_signal_ends_a_process_at_once_whatever_it_has_in_hand() {
    let stack = Stack::start(options().proxy_config(HELD_BODIES)).unwrap();
    let (proxy, sender) = (&stack.proxies[0].process, Sender::new(&stack));
    let mut call = half_sent(&stack, &sender);
    begin_to_stop(&stack);
    proxy.signal(Signal::TERM);
    ended_well(proxy);
    let log = log_of(proxy);
    assert!(log.contains("second signal: hard stop") && !log.contains("not finished in time"), "{log}");
    assert!(!call.read_to_close().unwrap_or_default().contains("202"));
}

#[test]
fn what_a_peer_does_not_let_us_finish_is_dropped_at_the_deadline() {
    let stack = Stack::start(options().proxy_config(HELD_BODIES)).unwrap();
    let (proxy, sender) = (&stack.proxies[0].process, Sender::new(&stack));
    let _never_finished = half_sent(&stack, &sender);
    begin_to_stop(&stack);
    ended_well(proxy);
    assert!(log_of(proxy).contains("not finished in time; hard stop"), "{}", proxy.log_tail());
    assert_eq!(psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap().trim(), "0");
}

#[test]
fn main_servers_and_workers_say_that_they_stop_and_end_by_themselves() {
    let stack = Stack::start(options()).unwrap();
    for process in [&stack.workers[0].process, &stack.main_servers[0].process] {
        process.signal(Signal::TERM);
        ended_well(process);
        let log = log_of(process);
        assert!(log.contains("signal: soft stop") && !log.contains("hard stop"), "{log}");
    }
}

#[test]
fn two_of_each_are_replaced_one_after_the_other_and_no_message_fails_or_is_lost() {
    // the time that a loaded machine takes to start one is not what is tested here
    let options = options().processes(2, 2, 2).proxy_config("[upstream]\nretry_for = '25s'");
    let stack = Stack::start(options.worker_config("[delivery]\nwait = '1s'")).unwrap();
    let sender = Sender::new(&stack);
    let proxies: Vec<_> = stack.proxies.iter().map(|proxy| proxy.url.clone()).collect();
    let ways = [Speaking::Http1, Speaking::Http2, Speaking::Anew, Speaking::Http2];
    // a proxy that goes away, a stale connection to the other one, and a new one there
    let steady = Steady::start(&sender.client, &proxies, &ways, 4);
    for _ in 0..2 {
        for process in stack.processes() {
            steady.wait_for(20);
            process.signal(Signal::TERM);
            ended_well(process);
            process.stop().unwrap();
            process.start().unwrap();
        }
    }
    steady.wait_for(20);
    let messages = steady.accepted();
    assert!(undelivered(&stack, &messages).is_empty());
    let stored = psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap();
    assert_eq!(stored.trim(), messages.len().to_string(), "each was stored once");
}

#[test]
fn an_idle_http2_connection_is_told_to_end() {
    let stack = Stack::start(options()).unwrap();
    let sender = Sender::new(&stack);
    let mut call = Caller::of(&sender.client, &TLS13).speaking(b"h2").connect(stack.url()).unwrap();
    call.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let reading = thread::spawn(move || {
        let mut kinds = Vec::new();
        while let Ok(head) = call.read(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let payload = call.read(length).unwrap();
            kinds.push(head[3]);
            // it measures the way to us before it lets go: a PING is answered, as everybody does
            if head[3] == 6 && head[4] == 0 {
                let answer = [&head[..4], &[1], &head[5..], &payload].concat();
                call.send(&answer).unwrap();
            }
        }
        kinds
    });
    stack.proxies[0].process.signal(Signal::TERM);
    let kinds = reading.join().unwrap();
    assert!(kinds.contains(&7), "no GOAWAY among the frames {kinds:?}");
    ended_well(&stack.proxies[0].process);
}
