//! The main server is away: for too long, for a moment, or one of two.

use std::thread;

use local::{Stack, eventually};
use private_postgres::psql;

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::{Traffic, accepted, id_of, metric, repeated, undelivered},
};

#[test]
fn a_main_server_that_stays_away_is_a_503_after_several_attempts() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let sender = Sender::new(&stack);
    stack.main_servers[0].process.kill().unwrap();
    let answer = sender.post_message("nobody takes it");
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let failures = metric(&stack.proxies[0].process, "portcullis_upstream_failures_total");
    assert!(failures > 1, "it was tried {failures} times");
    // the message is not stored later, behind the back of a client that was told 503
    stack.main_servers[0].process.start().unwrap();
    assert_eq!(sender.post_message("back").status, 202);
    assert_eq!(psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap().trim(), "1");
}

#[test]
fn a_message_posted_while_the_main_server_restarts_is_accepted_and_delivered_once() {
    // the time of a restart is not what is tested here
    let stack = Stack::start(options().proxy_config("[upstream]\nretry_for = '25s'")).unwrap();
    let sender = Sender::new(&stack);
    let (proxy, main_server) = (&stack.proxies[0].process, &stack.main_servers[0].process);
    main_server.kill().unwrap();
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| sender.post_message("in between"));
        let tried =
            eventually(DEADLINE, || (metric(proxy, "portcullis_upstream_failures_total") > 0).then_some(()));
        assert!(tried.is_some(), "the proxy has tried");
        main_server.start().unwrap();
        answer.join().unwrap()
    });
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(undelivered(&stack, &[id_of(&answer)].into()).is_empty());
    assert_eq!(stack.delivered().unwrap().len(), 1);
    assert_eq!(psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap().trim(), "1");
}

/// How many messages a main server has stored, and leased to workers, since it started.
fn share(stack: &Stack, server: usize) -> [u64; 2] {
    ["portcullis_queue_submit_total{outcome=\"queued\"}", "portcullis_queue_lease_total{outcome=\"leased\"}"]
        .map(|series| metric(&stack.main_servers[server].process, series))
}

#[test]
fn proxies_and_workers_share_the_main_servers_and_nobody_is_refused_while_one_is_killed_and_comes_back() {
    // the time that a loaded machine takes to notice is not what is tested here
    let options = options().processes(2, 2, 2).proxy_config("[upstream]\nretry_for = '25s'");
    let stack = Stack::start(options.worker_config("[delivery]\nlease = '3s'\nwait = '1s'")).unwrap();
    let traffic = Traffic::start(&stack, 3);
    let has_its_share = |server: usize| {
        let has = eventually(DEADLINE, || share(&stack, server).iter().all(|count| *count > 0).then_some(()));
        assert!(has.is_some(), "main server {server}: {:?}", share(&stack, server));
    };
    has_its_share(0);
    has_its_share(1);
    for server in 0..2 {
        stack.main_servers[server].process.kill().unwrap();
        traffic.wait_for(10, 202);
        // it counts from nothing
        stack.main_servers[server].process.start().unwrap();
        has_its_share(server);
    }
    let answers = traffic.stop();
    for answer in &answers {
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    assert!(undelivered(&stack, &accepted(&answers)).is_empty());
}

#[test]
fn one_of_two_main_servers_may_be_killed_under_load() {
    let stack = Stack::start(options().processes(1, 2, 1).worker_config("[delivery]\nlease = '3s'")).unwrap();
    let traffic = Traffic::start(&stack, 3);
    for server in &stack.main_servers {
        traffic.wait_for(10, 202);
        server.process.kill().unwrap();
        traffic.wait_for(10, 202);
        server.process.start().unwrap();
    }
    traffic.wait_for(10, 202);
    let answers = traffic.stop();
    for answer in &answers {
        let retryable = answer.status == 503 && answer.header("retry-after").is_some();
        assert!(answer.status == 202 || retryable, "{answer:?}");
    }
    assert!(undelivered(&stack, &accepted(&answers)).is_empty());
    assert!(repeated(&stack).is_empty());
}
