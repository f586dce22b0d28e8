//! Who is refused in a loop: slowed, still told why, and in at once when it is admitted again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::thread;

use local::{Answer, Stack, eventually};
use rustls::{AlertDescription, version::TLS13};

use crate::{
    support::{
        DEADLINE, Sender,
        caller::Caller,
        holder::{Holder, new_name, request},
        options,
    },
    traffic::metric,
};

fn set_status(stack: &Stack, sender: &Sender, status: &str) {
    let id = &sender.client.id;
    stack.sql(&format!("UPDATE clients SET status = '{status}' WHERE client_id = '{id}'")).unwrap();
}

fn wait_until_refused(sender: &Sender) -> Answer {
    let refused = || Some(sender.get("/health")).filter(|answer| answer.status == 403);
    eventually(DEADLINE, refused).unwrap()
}

fn slowed(stack: &Stack, outcome: &str) -> u64 {
    let series = format!("portcullis_refusals_slowed_total{{outcome=\"{outcome}\"}}");
    metric(&stack.proxies[0].process, &series)
}

#[test]
fn a_revoked_client_in_a_loop_is_slowed_and_still_told_why() {
    let patch = "[refusals]\nper_second = 0.001\nburst = 5\nlongest = '200ms'";
    let stack = Stack::start(options().proxy_config(patch)).unwrap();
    let (sender, other) = (Sender::new(&stack), Sender::new(&stack));
    set_status(&stack, &sender, "revoked");
    wait_until_refused(&sender);
    let before = slowed(&stack, "delayed");
    for http in ["--http1.1", "--http2"] {
        let curl = sender.curl.clone().flag(http);
        for _ in 0..6 {
            let answer = curl.get(&sender.at("/health")).unwrap();
            assert_eq!((answer.status, answer.code().as_str()), (403, "certificate_revoked"), "{answer:?}");
            assert_eq!(answer.json().unwrap()["reason_code"], "unspecified");
        }
    }
    // of all its refusals five were not delayed, of which one at least is above
    let delayed = slowed(&stack, "delayed");
    assert!((8..=12).contains(&(delayed - before)), "{before} {delayed}");
    assert_eq!(slowed(&stack, "too_many"), 0);
    let whoami = other.get("/api/v1/whoami");
    assert_eq!(whoami.status, 200);
    assert_eq!(slowed(&stack, "delayed"), delayed, "nobody else waits");
}

#[test]
fn only_so_many_refusals_wait_and_whoever_is_admitted_meanwhile_gets_in_at_once() {
    let patch = "[refusals]\nper_second = 0.001\nburst = 1\nlongest = '30s'\nwaiting = 2";
    let stack = Stack::start(options().proxy_config(patch)).unwrap();
    let name = new_name();
    let holder = Holder::of(&stack, stack.authority().clients().sign(&request(&stack, &name)).unwrap());
    let (curl, url) = (holder.curl().with("--max-time", "120"), format!("{}/health", stack.url()));
    let refused_at_once = || {
        let answer = curl.get(&url).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (403, "certificate_unknown"), "{answer:?}");
    };
    refused_at_once();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| curl.get(&url).unwrap())).collect();
        let both_wait = || metric(&stack.proxies[0].process, "portcullis_refusals_waiting") == 2;
        eventually(DEADLINE, || both_wait().then_some(())).unwrap();
        (0..3).for_each(|_| refused_at_once());
        assert_eq!(slowed(&stack, "too_many"), 3);
        assert!(both_wait(), "they were answered before it was their turn");
        holder.register_as(&stack, &name);
        for one in waiting {
            assert_eq!(one.join().unwrap().status, 200);
        }
    });
}

#[test]
fn an_address_whose_handshakes_fail_again_and_again_is_slowed_where_the_operator_says_so_and_nobody_is_turned_away()
 {
    let patch = "[limits]\nfailed_handshakes_per_ip = 1";
    let stack = Stack::start(options().proxy_config(patch)).unwrap();
    let sender = Sender::new(&stack);
    let stranger = Caller::without_certificate(&sender.client.ca, &TLS13);
    let series = "portcullis_limits_reached_total{door=\"clients\",limit=\"failed_handshakes_per_ip\"}";
    let waited = || metric(&stack.proxies[0].process, series);
    assert_eq!(waited(), 0);
    let alerts = || {
        assert_eq!(stranger.alert(stack.url()).unwrap(), AlertDescription::CertificateRequired);
        (waited() >= 2).then_some(())
    };
    assert!(eventually(DEADLINE, alerts).is_some());
    assert_eq!(sender.get("/health").status, 200);
}
