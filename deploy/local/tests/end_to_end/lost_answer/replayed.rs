//! The client is told that the outcome is unknown, and asks another proxy with the same key.

use local::{Relay, Stack};
use private_postgres::psql;

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::id_of,
};

#[test]
fn a_message_whose_answer_was_lost_is_replayed_through_another_proxy() {
    let mut stack = Stack::start(options().processes(1, 1, 1)).unwrap();
    let relay = Relay::to(&stack.main_servers[0].url).unwrap();
    let upstream = format!("[upstream]\nservers = ['{}']\nretry_for = '2s'", relay.url());
    stack.add_proxy(&upstream).unwrap();
    let sender = Sender::new(&stack);
    let message = r#"{"sender_number":"+1234567890","message_body":"said twice, meant once"}"#;
    let post = |proxy: usize| {
        let url = format!("{}/api/v1/messages", stack.proxies[proxy].url);
        sender.curl.clone().header("Idempotency-Key: \"once\"").post(&url, message).unwrap()
    };

    relay.swallow_answers();
    let lost = post(1);
    assert_eq!((lost.status, lost.code().as_str()), (503, "upstream_unavailable"), "{lost:?}");
    assert!(relay.swallowed() > 0);
    let rows = || psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap().trim().to_owned();
    assert_eq!(rows(), "1", "it was stored all the same");

    let answer = post(0);
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (202, Some("true")), "{answer:?}");
    let stored = psql(stack.owner_url(), "SELECT message_id FROM messages").unwrap();
    assert_eq!(id_of(&answer), stored.trim());
    stack.wait_for_delivery(&id_of(&answer), DEADLINE).unwrap();
    assert_eq!((rows().as_str(), stack.workers[0].lines().len()), ("1", 1));
}
