//! The answer of a committed batch is lost on its way to the proxy.

mod replayed;

use std::thread;

use local::{Relay, Stack, eventually};
use private_postgres::psql;

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::{id_of, metric, undelivered},
};

#[test]
fn a_batch_whose_answer_was_lost_is_sent_again_and_stored_once() {
    let mut stack = Stack::start(options().processes(0, 1, 1)).unwrap();
    let relay = Relay::to(&stack.main_servers[0].url).unwrap();
    let upstream = format!("[upstream]\nservers = ['{}']\ntimeout = '25s'\nretry_for = '25s'", relay.url());
    stack.add_proxy(&upstream).unwrap();
    let sender = Sender::new(&stack);
    let main_server = &stack.main_servers[0].process;
    let submitted =
        |outcome| metric(main_server, &format!("portcullis_queue_submit_total{{outcome=\"{outcome}\"}}"));

    relay.swallow_answers();
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| sender.post_message("said twice, meant once"));
        let committed =
            eventually(DEADLINE, || (submitted("queued") == 1 && relay.swallowed() > 0).then_some(()));
        assert!(committed.is_some(), "the main server commits and answers");
        assert!(!answer.is_finished(), "the client has no answer yet");
        relay.cut();
        answer.join().unwrap()
    });

    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!((submitted("queued"), submitted("replayed"), submitted("conflict")), (1, 1, 0));
    assert!(undelivered(&stack, &[id_of(&answer)].into()).is_empty());
    assert_eq!(stack.workers[0].lines().len(), 1);
    for table in ["messages", "jobs"] {
        let rows = psql(stack.owner_url(), &format!("SELECT count(*) FROM {table}")).unwrap();
        assert_eq!(rows.trim(), "1", "rows of {table}");
    }
}
