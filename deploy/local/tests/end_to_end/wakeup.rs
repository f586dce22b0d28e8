//! An idle worker hears of a message that another main server stored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{fs, time::Duration};

use local::{Stack, eventually};
use private_postgres::psql;

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::id_of,
};

/// Less than a worker's long poll, after which it would find the message by asking again.
const WELL_BEFORE_IT_ASKS_AGAIN: Duration = Duration::from_secs(15);

/// A proxy that knows only the first main server, and a worker that knows only the second.
fn crossed(main_server: &str) -> Stack {
    let mut stack = Stack::start(options().processes(0, 2, 0).main_server_config(main_server)).unwrap();
    let (first, second) = (stack.main_servers[0].url.clone(), stack.main_servers[1].worker_url.clone());
    stack.add_proxy(&format!("[upstream]\nservers = ['{first}']")).unwrap();
    stack.add_worker(&format!("[server]\nurls = ['{second}']\n[delivery]\nwait = '30s'")).unwrap();
    stack
}

#[test]
fn a_message_stored_by_one_main_server_wakes_a_worker_that_waits_at_another() {
    let stack = crossed("[queue]\npoll = '1h'");
    let sender = Sender::new(&stack);
    // after each delivery the worker waits anew
    for number in 0..5 {
        let answer = sender.post_message(&format!("number {number}"));
        assert_eq!(answer.status, 202, "{answer:?}");
        stack.wait_for_delivery(&id_of(&answer), WELL_BEFORE_IT_ASKS_AGAIN).unwrap();
    }
}

#[test]
fn without_notifications_a_waiting_worker_is_served_by_the_poll_and_the_log_says_so() {
    let stack = crossed("");
    let log = || fs::read_to_string(&stack.main_servers[1].process.log).unwrap();
    assert!(!log().contains("not hearing"), "{}", log());
    psql(stack.owner_url(), "REVOKE EXECUTE ON FUNCTION pg_notify FROM PUBLIC").unwrap();
    // a listener whose connection ended finds out
    let listeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND query LIKE 'LISTEN \"portcullis_queue\"%'";
    psql(stack.owner_url(), listeners).unwrap();
    let said = eventually(DEADLINE, || log().contains("not hearing of other main servers").then_some(()));
    assert!(said.is_some(), "{}", log());
    let sender = Sender::new(&stack);
    for number in 0..3 {
        let answer = sender.post_message(&format!("number {number}"));
        assert_eq!(answer.status, 202, "{answer:?}");
        stack.wait_for_delivery(&id_of(&answer), WELL_BEFORE_IT_ASKS_AGAIN).unwrap();
    }

    psql(stack.owner_url(), "GRANT EXECUTE ON FUNCTION pg_notify TO PUBLIC").unwrap();
    let again = eventually(DEADLINE, || log().contains("again").then_some(()));
    assert!(again.is_some(), "{}", log());
}
