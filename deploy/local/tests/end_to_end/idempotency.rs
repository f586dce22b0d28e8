//! Idempotency: what is sent again under the same key is the same message, whoever takes it and when.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{collections::BTreeSet, sync::Barrier, thread};

use local::{Answer, Curl, Stack, eventually};
use private_postgres::psql;
use serde_json::json;

use crate::{
    support::{DEADLINE, Sender, options, shared_stack},
    traffic::id_of,
};

fn with_key(sender: &Sender, key: &str) -> Curl {
    sender.curl.clone().header(&format!("Idempotency-Key: {key}"))
}

fn message(text: &str) -> String {
    json!({ "sender_number": "+1234567890", "message_body": text }).to_string()
}

fn post(sender: &Sender, key: &str, text: &str) -> Answer {
    with_key(sender, key).post(&sender.at("/api/v1/messages"), message(text)).unwrap()
}

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

fn stored(stack: &Stack, sender: &Sender) -> String {
    let count = format!("SELECT count(*) FROM messages WHERE client_id = '{}'", sender.client.id);
    psql(stack.owner_url(), &count).unwrap().trim().to_owned()
}

/// Sets the database's idea of when a client's keys were used back.
fn age_keys(stack: &Stack, sender: &Sender, by: &str) {
    let age = format!(
        "UPDATE idempotency_keys SET queued_at = queued_at - interval '{by}' WHERE client_id = '{}'",
        sender.client.id
    );
    psql(stack.owner_url(), &age).unwrap();
}

#[test]
fn a_message_sent_again_with_its_idempotency_key_gets_the_first_answer_again() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let first = post(&sender, "\"order-1\"", "once");
    assert_eq!((first.status, replayed(&first)), (202, false), "{first:?}");
    stack.wait_for_delivery(&id_of(&first), DEADLINE).unwrap();
    // quoted or bare, in another order and with other white space: the same key, the same message
    let other_spelling = r#" { "message_body": "once",  "sender_number": "+1234567890" } "#;
    for again in [
        post(&sender, "\"order-1\"", "once"),
        post(&sender, "order-1", "once"),
        with_key(&sender, "order-1").post(&sender.at("/api/v1/messages"), other_spelling).unwrap(),
    ] {
        assert_eq!((again.status, replayed(&again)), (202, true), "{again:?}");
        assert_eq!(again.json().unwrap(), first.json().unwrap());
        assert_eq!(again.header("location"), first.header("location"));
    }
    assert_eq!(stored(stack, &sender), "1");
}

#[test]
fn an_idempotency_key_stands_for_one_payload() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let first = post(&sender, "k", "one");
    let other = post(&sender, "k", "two");
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_conflict"), "{other:?}");
    assert!(!replayed(&other));
    // and stays the first one's
    assert_eq!(id_of(&post(&sender, "k", "one")), id_of(&first));
    assert_eq!(stored(stack, &sender), "1");
}

#[test]
fn an_idempotency_key_belongs_to_one_client() {
    let stack = shared_stack();
    let (one, other) = (Sender::new(stack), Sender::new(stack));
    let (first, second) = (post(&one, "k", "mine"), post(&other, "k", "theirs"));
    assert_eq!((first.status, second.status, replayed(&second)), (202, 202, false), "{second:?}");
    assert_ne!(id_of(&first), id_of(&second));
}

#[test]
fn a_refusal_is_not_remembered_with_its_idempotency_key() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let refused = post(&sender, "k", " ");
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_field"), "{refused:?}");
    let accepted = post(&sender, "k", "better");
    assert_eq!((accepted.status, replayed(&accepted)), (202, false), "{accepted:?}");
}

#[test]
fn an_idempotency_key_stands_for_its_message_for_a_day_and_no_longer() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let first = post(&sender, "k", "today");
    age_keys(stack, &sender, "23 hours 55 minutes");
    assert_eq!(id_of(&post(&sender, "k", "today")), id_of(&first));
    assert_eq!(post(&sender, "k", "tomorrow").status, 422);
    // not deleted yet, and past its day all the same
    age_keys(stack, &sender, "5 minutes");
    let next = post(&sender, "k", "tomorrow");
    assert_eq!((next.status, replayed(&next)), (202, false), "{next:?}");
    assert_ne!(id_of(&next), id_of(&first));
    let again = post(&sender, "k", "tomorrow");
    assert_eq!((id_of(&again), replayed(&again)), (id_of(&next), true));
    assert_eq!(stored(stack, &sender), "2");
}

#[test]
fn a_full_queue_refuses_what_is_new_and_replays_what_it_has() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let sender = Sender::new(&stack);
    let first = post(&sender, "k1", "first");
    assert_eq!(first.status, 202, "{first:?}");
    stack.sql("UPDATE queues SET max_backlog = 1 WHERE name = 'default'").unwrap();
    let refused = eventually(DEADLINE, || {
        Some(sender.post_message("one too many")).filter(|answer| answer.status != 202)
    });
    let refused = refused.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (429, "backlog_exceeded"), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(post(&sender, "k2", "new").status, 429);
    let again = post(&sender, "k1", "first");
    assert_eq!((again.status, id_of(&again)), (202, id_of(&first)));

    let batch = |lines: &str| {
        let curl = sender.curl.clone().header("Content-Type: application/jsonl");
        curl.post_plain(&sender.at("/api/v1/messages/batch"), lines).unwrap()
    };
    let new = message("new");
    let none = batch(&format!("{{}}\n{new}\n{new}"));
    assert_eq!((none.status, none.code().as_str()), (429, "backlog_exceeded"), "{none:?}");
    assert!(none.header("retry-after").is_some());
    let statuses = |answer: &Answer| -> Vec<_> {
        let results = answer.json().unwrap()["results"].as_array().unwrap().clone();
        results.iter().map(|one| one["status"].as_u64().unwrap()).collect()
    };
    assert_eq!(statuses(&none), [400, 429, 429]);
    let known = message("first").replacen('{', "{\"idempotency_key\":\"k1\",", 1);
    assert_eq!(statuses(&batch(&format!("{known}\n{new}"))), [202, 429]);

    stack.sql("UPDATE queues SET max_backlog = NULL WHERE name = 'default'").unwrap();
    let taken = eventually(DEADLINE, || (post(&sender, "k2", "new").status == 202).then_some(()));
    assert!(taken.is_some());
}

#[test]
fn fifty_concurrent_duplicates_over_two_proxies_and_two_main_servers_are_one_message() {
    const DUPLICATES: usize = 50;
    let stack = Stack::start(options().processes(2, 2, 1)).unwrap();
    let sender = Sender::new(&stack);
    let urls: Vec<_> = stack.proxies.iter().map(|proxy| format!("{}/api/v1/messages", proxy.url)).collect();
    let (curl, at_once) =
        (with_key(&sender, "\"all at once\"".replace(' ', "-").as_str()), Barrier::new(DUPLICATES));
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..DUPLICATES)
            .map(|number| {
                let (curl, url, at_once) = (&curl, &urls[number % urls.len()], &at_once);
                scope.spawn(move || {
                    at_once.wait();
                    curl.post(url, message("one of fifty")).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let bodies: BTreeSet<_> = answers.iter().map(|answer| answer.json().unwrap().to_string()).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(answers.iter().filter(|answer| replayed(answer)).count(), DUPLICATES - 1);
    assert_eq!(stored(&stack, &sender), "1");
    stack.wait_for_delivery(&id_of(&answers[0]), DEADLINE).unwrap();
    assert_eq!(stack.delivered().unwrap().len(), 1);
    for server in &stack.main_servers {
        let took_part = ["queued", "replayed"].map(|outcome| {
            crate::traffic::metric(
                &server.process,
                &format!("portcullis_queue_submit_total{{outcome=\"{outcome}\"}}"),
            )
        });
        assert!(took_part.iter().sum::<u64>() > 0, "{} took part in it", server.url);
    }
}
