//! What one client can make a proxy hold in memory: no more than its share of `limits.memory`, and small change.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{fs, net::TcpStream};

use local::{Stack, eventually};
use rustls::version::TLS13;

use crate::{
    hygiene::frames::{PREFACE, data, headers, settings},
    support::{
        DEADLINE, PATIENT, Sender,
        caller::{Call, Caller},
        options,
    },
    traffic::metric,
};

/// Half of it is one certificate's, at most.
const CONFIG: &str = "[limits]\nmemory = '8MiB'";
const CONNECTIONS: usize = 24;
const STREAMS: u32 = 128;
/// KiB more than the process needed before: what TLS, HTTP and the allocator take for that many connections, generously.
/// With memory for all of it, a debug build took 180 MiB, and with this share 30.
const MOST: u64 = 64 * 1024;

/// The most memory that the proxy ever had, in KiB.
fn peak(stack: &Stack) -> u64 {
    let pid = stack.proxies[0].process.pid().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A connection with as many half-sent requests as it may have, each with a head that is as large as it may be.
fn half_sent(caller: &Caller, url: &str) -> Call {
    let mut call = caller.connect(url).unwrap();
    call.send(&[PREFACE, &settings()].concat()).unwrap();
    let long = "x".repeat(15_000);
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/api/v1/messages"),
        (":authority", "localhost"),
        ("content-type", "application/json"),
        ("x-a", &long),
    ];
    for number in 0..STREAMS {
        let stream = 2 * number + 1;
        call.send(&[headers(stream, 0, &fields), data(stream, 0, &[b' '; 1500])].concat()).unwrap();
    }
    call
}

#[test]
fn abuse_by_one_client_is_held_in_bounded_memory_and_others_are_served() {
    let stack = Stack::start(options().proxy_config(&format!("{CONFIG}\n{PATIENT}"))).unwrap();
    let (abuser, other) = (Sender::new(&stack), Sender::new(&stack));
    assert_eq!(other.post_message("before").status, 202);
    let before = peak(&stack);

    let multiplexed = Caller::of(&abuser.client, &TLS13).speaking(b"h2");
    let half_sent: Vec<_> = (0..CONNECTIONS).map(|_| half_sent(&multiplexed, stack.url())).collect();
    // heads that do not end, and peers that say nothing at all
    let plain = Caller::of(&abuser.client, &TLS13).speaking(b"http/1.1");
    let heads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut call = plain.connect(stack.url()).unwrap();
            call.send(format!("GET /health HTTP/1.1\r\nX-A: {}", "x".repeat(30_000)).as_bytes()).unwrap();
            call
        })
        .collect();
    let address = stack.url().strip_prefix("https://").unwrap();
    let silent: Vec<_> = (0..256).map(|_| TcpStream::connect(address).unwrap()).collect();

    let refused = || {
        metric(
            &stack.proxies[0].process,
            "portcullis_limits_reached_total{door=\"clients\",limit=\"memory\"}",
        )
    };
    // of 3072 requests there is memory for less than 100 at a time
    let judged = eventually(DEADLINE, || (refused() > 2000).then_some(()));
    assert!(judged.is_some(), "{} refused", refused());
    assert_eq!(other.post_message("meanwhile").status, 202);
    let grown = peak(&stack) - before;
    assert!(grown < MOST, "{grown} KiB more than before");
    drop((half_sent, heads, silent));
    let back = eventually(DEADLINE, || (abuser.post_message("after").status == 202).then_some(()));
    assert!(back.is_some());
}
