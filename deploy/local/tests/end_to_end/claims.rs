//! What a request says about who sent it counts for nothing: the certificate on the connection decides.

mod recorder;

use local::Stack;
use serde_json::Value;

use self::recorder::Recorder;
use crate::support::{
    DEADLINE, Sender,
    holder::{Holder, new_name, request},
    options, shared_stack,
};

/// In every forged header; it must not come out anywhere.
const FORGED: &str = "FORGED-0123456789";

/// Headers by which proxies tell each other who a client is, and some that look like it.
const CLAIMS: [&str; 20] = [
    "X-Client-Id",
    "X-Client-ID-Verified",
    "X-Client-Cert",
    "X-Client-Fingerprint",
    "X-Client-Domain",
    "X-Client-Verify",
    "X_Client_Id",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-For",
    "X-Forwarded-User",
    "Forwarded",
    "X-SSL-Client-Verify",
    "X-SSL-Client-S-DN",
    "SSL-Client-Cert",
    "X-Amzn-Mtls-Clientcert",
    "X-Spiffe-Id",
    "X-Request-Id",
    "Authorization",
];

fn forging(sender: &Sender) -> local::Curl {
    CLAIMS.iter().fold(sender.curl.clone(), |curl, name| curl.header(&format!("{name}: {FORGED}")))
}

const MESSAGE: &str = r#"{"sender_number":"+1234567890","message_body":"who am I?"}"#;

#[test]
fn forged_identity_headers_change_nothing_and_reach_nobody() {
    let stack = shared_stack();
    for http in ["--http1.1", "--http2"] {
        let sender = Sender::new(stack);
        let curl = forging(&sender).flag(http);
        let seen = curl.get(&sender.at("/api/v1/whoami")).unwrap();
        assert_eq!(seen.json().unwrap()["client_id"], sender.client.id, "{http}");
        assert!(!String::from_utf8_lossy(&seen.body).contains(FORGED), "{http}: {seen:?}");

        let answer = curl.post(&sender.at(&format!("/api/v1/messages?client_id={FORGED}")), MESSAGE).unwrap();
        assert_eq!(answer.status, 202, "{http}: {answer:?}");
        let accepted = answer.json().unwrap();
        assert_eq!(accepted["client_id"], sender.client.id);
        assert!(answer.headers.iter().all(|(_, value)| !value.contains(FORGED)), "{http}: {answer:?}");
        let line = stack.wait_for_delivery(accepted["message_id"].as_str().unwrap(), DEADLINE).unwrap();
        assert!(!line.contains(FORGED), "{http}: {line}");
        let delivered: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(delivered["client_id"], sender.client.id);
        assert_eq!(delivered["cert_fingerprint"], seen.json().unwrap()["fingerprint"]);
        assert_eq!(delivered["request_id"].as_str(), answer.header("x-request-id"));
    }
}

#[test]
fn forged_identity_headers_are_not_forwarded() {
    // A main server that only writes down what a proxy sends to it.
    let mut stack = Stack::start(options().processes(0, 0, 0)).unwrap();
    let recorder = Recorder::start(&stack);
    stack.add_proxy(&format!("[upstream]\nservers = [\"{}\"]", recorder.url)).unwrap();
    let sender = Sender::new(&stack);
    let answer = forging(&sender).post(&sender.at("/api/v1/messages"), MESSAGE).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let batches = recorder.batches();
    let [batch] = &batches[..] else { panic!("not one batch: {batches:?}") };
    assert!(!batch.head.contains(FORGED), "{batch:?}");
    for name in CLAIMS.map(str::to_ascii_lowercase) {
        assert!(!batch.head.contains(&format!("\"{name}\"")), "{name} in {batch:?}");
    }
    assert!(!batch.body.contains(FORGED), "{batch:?}");
    let messages: Value = serde_json::from_str(&batch.body).unwrap();
    assert_eq!(messages[0]["client_id"], sender.client.id);
}

#[test]
fn the_name_in_a_certificate_without_our_uri_decides_nothing() {
    // As another CA in the bundle would issue it: no SPIFFE id, and whatever common name it likes.
    let stack = shared_stack();
    let victim = Sender::new(stack);
    let id = new_name();
    let mut request = request(stack, &id);
    request.uris.clear();
    request.common_name.clone_from(&victim.client.id);
    request.organizational_unit = Some("victim.example".to_owned());
    let holder = Holder::of(stack, stack.authority().clients().sign(&request).unwrap());
    holder.register_as(stack, &id);
    stack.wait_until_known(&holder.client).unwrap();

    let seen = holder.curl().get(&victim.at("/api/v1/whoami")).unwrap().json().unwrap();
    assert_eq!(
        (seen["client_id"].as_str(), seen["domain"].as_str()),
        (Some(id.as_str()), Some("example.com"))
    );
    let answer = holder.curl().post(&victim.at("/api/v1/messages"), MESSAGE).unwrap().json().unwrap();
    let line = stack.wait_for_delivery(answer["message_id"].as_str().unwrap(), DEADLINE).unwrap();
    let delivered: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(delivered["client_id"], id.as_str());
    assert_eq!(delivered["cert_fingerprint"], holder.leaf.fingerprint().to_string());
}

#[test]
fn whoami_shows_the_certificate_and_the_limits() {
    let stack = shared_stack();
    let id = new_name();
    let holder = Holder::of(stack, stack.authority().clients().sign(&request(stack, &id)).unwrap());
    holder.register_as(stack, &id);
    stack.wait_until_known(&holder.client).unwrap();
    let seen = holder.curl().get(&format!("{}/api/v1/whoami", stack.url())).unwrap().json().unwrap();
    assert_eq!(seen["client_id"], id.as_str());
    assert_eq!(seen["fingerprint"], holder.leaf.fingerprint().to_string());
    assert_eq!(seen["domain"], "example.com");
    let format = &time::format_description::well_known::Rfc3339;
    let written = |moment: time::OffsetDateTime| moment.format(format).unwrap();
    assert_eq!(seen["certificate"]["not_before"], written(holder.leaf.not_before()));
    assert_eq!(seen["certificate"]["not_after"], written(holder.leaf.not_after()));
    assert_eq!(seen["limits"]["body_bytes"], 64 * 1024);
    assert_eq!(seen["limits"]["message_body_characters"], 1000);
}
