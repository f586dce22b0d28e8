//! Messages that harm others: one that the database cannot hold, in one batch with everybody else's; here below, those
//! that harm workers.

mod delivery;

use std::{collections::BTreeSet, thread};

use local::{Curl, Process, Stack, eventually};
use private_postgres::psql;
use rustix::process::Signal;

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::{accepted, metric, undelivered},
};

const CLIENTS: u64 = 100;
const MESSAGE: &str = r#"{"sender_number": "+1234567890", "message_body": "one of a hundred"}"#;

fn wait_until_waiting(proxy: &Process, messages: u64) {
    let waiting = || metric(proxy, "portcullis_upstream_waiting");
    let all = eventually(DEADLINE, || (waiting() == messages).then_some(()));
    assert!(all.is_some(), "{} of {messages} are waiting", waiting());
}

#[test]
fn a_poisonous_message_among_a_hundred_is_refused_alone() {
    // one batch at a time, and nobody gives up while the main server is held
    let upstream = "[upstream]\nin_flight = 1\nwaiting_time = '2m'\ntimeout = '2m'\nretry_for = '2m'";
    let stack = Stack::start(options().proxy_config(upstream)).unwrap();
    let (proxy, main_server) = (&stack.proxies[0].process, &stack.main_servers[0].process);
    let clients: Vec<_> =
        (1..CLIENTS).map(|number| stack.client(&format!("crowd_{number:03}")).unwrap()).collect();
    // registered last: a proxy that knows it knows the others too
    let poisonous = Sender::new(&stack);
    let poison =
        format!("ALTER TABLE messages ADD CONSTRAINT poison CHECK (client_id <> '{}')", poisonous.client.id);
    psql(stack.owner_url(), &poison).unwrap();

    main_server.signal(Signal::STOP);
    let url = poisonous.at("/api/v1/messages");
    let post = |client| Curl::of(client).with("--max-time", "120").post(&url, MESSAGE).unwrap();
    let (refused, answers) = thread::scope(|scope| {
        // the first one leaves alone and occupies the one place; all the others meet while it is on its way
        let mut posts = vec![scope.spawn(|| post(&clients[0]))];
        wait_until_waiting(proxy, 1);
        let refused = scope.spawn(|| post(&poisonous.client));
        posts.extend(clients[1..].iter().map(|client| scope.spawn(|| post(client))));
        wait_until_waiting(proxy, CLIENTS);
        main_server.signal(Signal::CONT);
        let answers: Vec<_> = posts.into_iter().map(|post| post.join().unwrap()).collect();
        (refused.join().unwrap(), answers)
    });

    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_field"), "{refused:?}");
    for answer in &answers {
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    // they did share a batch, and the main server a commit
    let batches = ["bucket{le=\"1.0\"}", "count", "sum"]
        .map(|part| metric(proxy, &format!("portcullis_upstream_batch_messages_{part}")));
    assert_eq!(batches, [1, 2, CLIENTS], "one batch of 1 and one of 99");
    let rejected = metric(main_server, "portcullis_queue_submit_total{outcome=\"rejected\"}");
    assert_eq!(rejected, 1);
    assert_eq!(accepted(&answers).len(), 99);
    assert_eq!(undelivered(&stack, &accepted(&answers)), BTreeSet::new());
    assert_eq!(stack.delivered().unwrap().len(), 99);
}

#[test]
fn a_batch_that_is_too_large_for_its_main_server_is_halved_and_nobody_is_refused() {
    const SENDERS: u64 = 20;
    let upstream = "[upstream]\nin_flight = 1\nwaiting_time = '2m'\ntimeout = '2m'\nretry_for = '2m'";
    let few = options()
        .proxy_config(upstream)
        .main_server_config("[requests]\nitems = 3")
        .worker_config("[delivery]\nbatch = 3");
    let stack = Stack::start(few).unwrap();
    let (proxy, main_server) = (&stack.proxies[0].process, &stack.main_servers[0].process);
    let sender = Sender::new(&stack);
    let url = sender.at("/api/v1/messages");
    let post = || Curl::of(&sender.client).with("--max-time", "120").post(&url, MESSAGE).unwrap();

    main_server.signal(Signal::STOP);
    let answers: Vec<_> = thread::scope(|scope| {
        let mut posts = vec![scope.spawn(post)];
        wait_until_waiting(proxy, 1);
        posts.extend((1..SENDERS).map(|_| scope.spawn(post)));
        wait_until_waiting(proxy, SENDERS);
        main_server.signal(Signal::CONT);
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });

    for answer in &answers {
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    assert_eq!(metric(main_server, "portcullis_queue_submit_total{outcome=\"queued\"}"), SENDERS);
    assert_eq!(undelivered(&stack, &accepted(&answers)), BTreeSet::new());
}
