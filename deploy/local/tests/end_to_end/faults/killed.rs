//! kill -9 of each process while messages flow.

use std::collections::BTreeSet;

use local::{Stack, eventually};
use private_postgres::psql;

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::{Traffic, accepted, id_of, repeated, undelivered},
};

#[test]
fn every_202_is_delivered_whichever_process_is_killed() {
    let stack = Stack::start(options().worker_config("[delivery]\nlease = '3s'")).unwrap();
    let traffic = Traffic::start(&stack, 3);
    for _ in 0..2 {
        for process in stack.processes() {
            traffic.wait_for(5, 202);
            process.kill().unwrap();
            process.start().unwrap();
        }
    }
    traffic.wait_for(5, 202);
    let answers = traffic.stop();
    // the proxy's own death is the one thing that a client meets as a broken connection
    assert!(answers.iter().all(|answer| matches!(answer.status, 202 | 503 | 0)), "{answers:?}");
    assert_eq!(undelivered(&stack, &accepted(&answers)), BTreeSet::new());
    assert!(repeated(&stack).is_empty());
}

#[test]
fn a_worker_killed_before_it_acknowledged_does_not_write_its_messages_again() {
    let stack = Stack::start(options().worker_config("[delivery]\nlease = '3s'")).unwrap();
    let sender = Sender::new(&stack);
    // jobs can be leased but not finished: what is written cannot be acknowledged
    psql(
        stack.owner_url(),
        "CREATE FUNCTION never_done() RETURNS trigger LANGUAGE plpgsql AS \
           $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'lock_not_available'; END $$; \
         CREATE TRIGGER never_done BEFORE UPDATE ON job_groups \
           FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION never_done()",
    )
    .unwrap();
    let answers: Vec<_> = (0..5).map(|_| sender.post_message("written once")).collect();
    for answer in &answers {
        assert_eq!(answer.status, 202, "{answer:?}");
        stack.wait_for_delivery(&id_of(answer), DEADLINE).unwrap();
    }
    let worker = &stack.workers[0].process;
    worker.kill().unwrap();
    let attempts_end = "SELECT count(*) FROM jobs WHERE state = 'ready'";
    let back =
        eventually(DEADLINE, || (psql(stack.owner_url(), attempts_end).ok()?.trim() == "5").then_some(()));
    assert!(back.is_some(), "the leases expire");
    psql(stack.owner_url(), "DROP TRIGGER never_done ON job_groups").unwrap();
    worker.start().unwrap();
    assert_eq!(undelivered(&stack, &accepted(&answers)), BTreeSet::new());
    let second = "SELECT count(*) FROM jobs WHERE state = 'done' AND attempt > 1";
    assert_eq!(psql(stack.owner_url(), second).unwrap().trim(), "5");
    assert_eq!(stack.workers[0].lines().len(), 5);
}
