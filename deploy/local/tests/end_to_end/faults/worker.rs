//! A worker is frozen past its leases, or stopped with jobs in hand, while another one is there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    fs,
    process::{Command, Stdio},
};

use local::{Process, Stack, eventually};
use private_postgres::psql;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::{accepted, id_of, metric, undelivered},
};

/// What a worker writes cannot be acknowledged while this is there.
const NEVER_DONE: &str = "CREATE FUNCTION never_done() RETURNS trigger LANGUAGE plpgsql AS \
       $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'lock_not_available'; END $$; \
     CREATE TRIGGER never_done BEFORE UPDATE ON job_groups \
       FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION never_done()";

fn wait_until(stack: &Stack, what: &str, query: &str, value: &str) {
    let mut last = String::new();
    let came = eventually(DEADLINE, || {
        last = psql(stack.owner_url(), query).unwrap();
        (last.trim() == value).then_some(())
    });
    assert!(came.is_some(), "{what}: {query} is {last}, not {value}");
}

#[test]
fn a_worker_stopped_past_its_lease_and_continued_cannot_complete() {
    let stack = Stack::start(options().processes(1, 1, 2).worker_config("[delivery]\nlease = '3s'")).unwrap();
    let sender = Sender::new(&stack);
    psql(stack.owner_url(), NEVER_DONE).unwrap();
    let answer = sender.post_message("whose is it?");
    stack.wait_for_delivery(&id_of(&answer), DEADLINE).unwrap();
    let (holders, others): (Vec<_>, Vec<_>) =
        stack.workers.iter().partition(|worker| !worker.lines().is_empty());
    let (frozen, other) = (&holders[0].process, &others[0].process);

    frozen.signal(Signal::STOP);
    wait_until(&stack, "the other one has it", "SELECT attempt FROM jobs", "2");
    psql(stack.owner_url(), "DROP TRIGGER never_done ON job_groups").unwrap();
    wait_until(&stack, "the other one completes", "SELECT state FROM jobs", "done");
    frozen.signal(Signal::CONT);

    let noticed = eventually(DEADLINE, || {
        // twice, if the question it had open when it froze was answered with the same job
        let lost = metric(frozen, "portcullis_worker_lease_lost_total") >= 1;
        let ended = fs::read_to_string(&frozen.log).unwrap().contains("the leases ended");
        (lost || ended).then_some(())
    });
    assert!(noticed.is_some(), "{}", frozen.log_tail());
    let delivered = |worker: &Process| metric(worker, "portcullis_worker_delivered_total");
    assert_eq!((delivered(frozen), delivered(other)), (0, 1));
    let completed = "portcullis_queue_complete_total{outcome=\"ok\"}";
    assert_eq!(metric(&stack.main_servers[0].process, completed), 1);
}

#[test]
fn a_worker_that_is_stopped_hands_back_what_its_reader_did_not_take_and_no_attempt_counts() {
    const MESSAGES: usize = 150;
    let mut stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    stack.add_worker("[sink]\nkind = 'stdout'\n[delivery]\ndrain = '1s'").unwrap();
    let worker = &stack.workers[0].process;
    worker.stop().unwrap();
    let sender = Sender::new(&stack);
    // more than a pipe holds, and the last ones are in nobody's hands before the worker starts
    let answers: Vec<_> = (0..MESSAGES).map(|_| sender.post_message(&"x".repeat(1000))).collect();
    assert_eq!(accepted(&answers).len(), MESSAGES);

    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis-local"))
        .args(["worker", "--config"])
        .arg(&worker.config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // in its hands, not only leased to it: what it is sent while it stops waits for the end of its lease
    let leased = eventually(DEADLINE, || {
        let listens = worker.get("/livez").is_ok();
        (listens && metric(worker, "portcullis_worker_leased_total") == MESSAGES as u64).then_some(())
    });
    assert!(leased.is_some(), "{}", worker.log_tail());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // although nobody reads what it wrote
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let back = "SELECT count(*) FROM jobs WHERE state = 'ready' AND attempt = 1 AND forgiven = 1";
    assert_eq!(psql(stack.owner_url(), back).unwrap().trim(), "150");

    stack.add_worker("").unwrap();
    assert!(undelivered(&stack, &accepted(&answers)).is_empty());
}
