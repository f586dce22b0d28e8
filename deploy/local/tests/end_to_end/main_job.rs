//! The main job: a message that was accepted is delivered, once, with the principal that sent it.

use local::{Stack, eventually};

use crate::support::{DEADLINE, Sender, options, shared_stack};

fn id_of(answer: &local::Answer) -> String {
    let body = answer.json().unwrap_or_default();
    body["message_id"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_message_posted_with_curl_reaches_the_worker() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let answer = sender.post_message("Grüße ☃");
    assert_eq!(answer.status, 202, "{answer:?}");
    let accepted = answer.json().unwrap();
    assert_eq!(accepted["status"], "queued");
    assert_eq!(accepted["client_id"], sender.client.id);
    let location = format!("/api/v1/messages/{}", id_of(&answer));
    assert_eq!(answer.header("location"), Some(location.as_str()));

    let line = stack.wait_for_delivery(&id_of(&answer), DEADLINE).unwrap();
    let delivered: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(delivered["message_body"], "Grüße ☃");
    assert_eq!(delivered["sender_number"], "+1234567890");
    assert_eq!(delivered["client_id"], sender.client.id);
    assert_eq!(delivered["proxy"], "proxy-1");
    assert_eq!(delivered["attempt"], 1);
}

#[test]
fn health_and_whoami_tell_a_client_how_it_is_seen() {
    let sender = Sender::new(shared_stack());
    assert_eq!(sender.get("/health").status, 200);
    assert_eq!(sender.get("/api/v1/health").status, 200);
    let seen = sender.get("/api/v1/whoami").json().unwrap();
    assert_eq!(seen["client_id"], sender.client.id);
}

#[test]
fn a_revoke_in_sql_refuses_the_client_and_nobody_else() {
    let stack = shared_stack();
    let (revoked, other) = (Sender::new(stack), Sender::new(stack));
    let statement =
        format!("UPDATE clients SET status = 'revoked' WHERE client_id = '{}'", revoked.client.id);
    stack.sql(&statement).unwrap();
    let refusal =
        eventually(DEADLINE, || Some(revoked.post_message("no")).filter(|answer| answer.status != 202));
    let refusal = refusal.unwrap();
    assert_eq!((refusal.status, refusal.code().as_str()), (403, "certificate_revoked"));
    assert_eq!(other.post_message("yes").status, 202);
}

#[test]
fn an_accepted_message_survives_kill_9_of_every_process() {
    let mut stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let sender = Sender::new(&stack);
    let answer = sender.post_message("durable");
    assert_eq!(answer.status, 202, "{answer:?}");
    for process in stack.processes() {
        process.kill().unwrap();
        process.start().unwrap();
    }
    stack.add_worker("").unwrap();
    stack.wait_for_delivery(&id_of(&answer), DEADLINE).unwrap();
}
