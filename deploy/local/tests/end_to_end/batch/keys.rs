//! Idempotency of batches: one key for the whole, or one for each message.

use local::Curl;
use serde_json::{Value, json};

use super::{each, message, post, post_with, stored};
use crate::support::{Sender, shared_stack};

fn with_key(sender: &Sender, key: &str) -> Curl {
    sender.curl.clone().header(&format!("Idempotency-Key: {key}"))
}

fn keyed(text: &str, key: &str) -> Value {
    json!({ "sender_number": "+1234567890", "message_body": text, "idempotency_key": key })
}

#[test]
fn a_batch_sent_again_with_its_idempotency_key_gets_the_same_ids_again() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let curl = with_key(&sender, "\"batch-1\"");
    // the first one is no message: the one that holds the key is the first that is
    let messages = [message(" "), message("a"), message("a"), message("b")];
    let first = post_with(&curl, &sender, &messages);
    assert_eq!(each(&first, "status"), [400, 202, 202, 202], "{first:?}");
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = post_with(&curl, &sender, &messages);
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")), "{again:?}");
    assert_eq!(each(&again, "message_id"), each(&first, "message_id"));
    assert_eq!(each(&again, "queued_at"), each(&first, "queued_at"));
    assert_eq!(each(&again, "replayed"), [json!(null), json!(true), json!(true), json!(true)]);
    assert_eq!(stored(stack, &sender), "3");
}

#[test]
fn an_idempotency_key_of_a_batch_stands_for_one_body_and_a_conflict_stores_nothing() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let curl = with_key(&sender, "k");
    assert_eq!(post_with(&curl, &sender, &[message("a"), message("b")]).status, 200);
    for other in [
        vec![message("a"), message("c")],
        vec![message("a")],
        vec![message("a"), message("b"), message("c")],
        vec![message("c"), message("d")],
        vec![message(" "), message("a"), message("b")],
    ] {
        let answer = post_with(&curl, &sender, &other);
        assert_eq!((answer.status, answer.code().as_str()), (422, "idempotency_conflict"), "{other:?}");
    }
    // nor is it good for a single message
    let single = curl.post(&sender.at("/api/v1/messages"), message("a").to_string()).unwrap();
    assert_eq!((single.status, single.code().as_str()), (422, "idempotency_conflict"), "{single:?}");
    assert_eq!(stored(stack, &sender), "2");
}

#[test]
fn a_batch_that_was_stored_in_part_is_completed_when_it_is_sent_again() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let curl = with_key(&sender, "k");
    let messages = [message("a"), message("b"), message("c")];
    let first = post_with(&curl, &sender, &messages);
    let ids = each(&first, "message_id");
    // as if the second message's commit had never been
    let lost = ids[1].as_str().unwrap();
    private_postgres::psql(
        stack.owner_url(),
        &format!("DELETE FROM idempotency_keys WHERE message_id = '{lost}'"),
    )
    .unwrap();
    let again = post_with(&curl, &sender, &messages);
    assert_eq!(again.header("idempotency-replayed"), None, "{again:?}");
    assert_eq!(each(&again, "replayed"), [json!(true), json!(null), json!(true)]);
    let new = each(&again, "message_id");
    assert_eq!([&new[0], &new[2]], [&ids[0], &ids[2]]);
    let third = post_with(&curl, &sender, &messages);
    assert_eq!((third.header("idempotency-replayed"), each(&third, "message_id")), (Some("true"), new));
}

#[test]
fn each_message_of_a_batch_may_have_an_idempotency_key_of_its_own() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let first = post(&sender, &[keyed("a", "k1"), keyed("b", "k2"), message("c")]);
    let again = post(&sender, &[keyed("b", "k2"), keyed("other", "k1"), keyed("d", "k3"), keyed("d", "k3")]);
    assert_eq!(each(&again, "status"), [202, 422, 202, 202], "{again:?}");
    assert_eq!(each(&again, "code")[1], "idempotency_conflict");
    let (ids, first_ids) = (each(&again, "message_id"), each(&first, "message_id"));
    assert_eq!((&ids[0], &each(&again, "replayed")[0]), (&first_ids[1], &json!(true)));
    assert_eq!(ids[2], ids[3], "one key, one message, in one batch too");
    // the same keys as those of single messages
    let single =
        with_key(&sender, "k1").post(&sender.at("/api/v1/messages"), message("a").to_string()).unwrap();
    assert_eq!((single.status, single.header("idempotency-replayed")), (202, Some("true")), "{single:?}");
    assert_eq!(single.json().unwrap()["message_id"], first_ids[0]);
    assert_eq!(stored(stack, &sender), "4");
}

#[test]
fn a_batch_with_keys_in_two_places_is_refused() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let answer = post_with(&with_key(&sender, "k"), &sender, &[message("a"), keyed("b", "k2")]);
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_field"), "{answer:?}");
    assert_eq!(answer.json().unwrap()["field"], "Idempotency-Key");
    let malformed = post(&sender, &[keyed("a", "white space"), keyed("b", "")]);
    assert_eq!((malformed.status, each(&malformed, "field")), (400, vec![json!("/idempotency_key"); 2]));
    assert_eq!(stored(stack, &sender), "0");
}
