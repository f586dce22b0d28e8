//! Every way to stop a client in the database, on every kind of connection; and what is known of it afterwards.
//!
//! (By revocation list: `crl`. What the refused one is told, in every version of TLS and HTTP: `refusals`.)

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod kinds;
mod everybody;
mod by_list;
mod afterwards;
mod overlap;
mod in_force;
mod in_flight;
mod strict;

use local::{Answer, Client, Curl, Stack, eventually};
use time::{Duration, OffsetDateTime};

use self::kinds::{Kinds, Stopped};
use crate::support::{
    DEADLINE, Sender,
    caller::{Call, Caller, VERSIONS},
    holder::{Holder, new_name, request},
    shared_stack,
};

const HALF: &str = r#"{"sender_number": "+1234567890", "#;
const REST: &str = r#""message_body": "too late"}"#;

/// Somebody whose connections are about to be refused.
struct Doomed {
    client: Client,
    curl: Curl,
}

impl Doomed {
    fn new(stack: &Stack) -> Self {
        let Sender { client, curl, .. } = Sender::new(stack);
        Self { client, curl }
    }

    fn update(&self, stack: &Stack, columns: &str) {
        let id = &self.client.id;
        stack.sql(&format!("UPDATE clients SET {columns} WHERE client_id = '{id}'")).unwrap();
    }
}

/// Waits until a new connection is answered with this code (empty: admitted).
fn wait_for_code(stack: &Stack, curl: &Curl, code: &str) -> Answer {
    let mut last = None;
    let seen = eventually(DEADLINE, || {
        let answer = curl.get(&format!("{}/health", stack.url())).unwrap();
        let seen = answer.status != 0 && answer.code() == code;
        last = Some(answer);
        seen.then_some(())
    });
    assert!(seen.is_some(), "never {code:?}: {last:?}");
    last.unwrap()
}

/// A connection on which one request was answered.
fn open(stack: &Stack, caller: &Caller) -> Call {
    let mut call = caller.connect(stack.url()).unwrap();
    assert_eq!(call.get("/health").unwrap().0, 200);
    call
}

/// A connection on which half a message is under way.
fn busy(stack: &Stack, caller: &Caller) -> Call {
    let mut call = open(stack, caller);
    let head = format!(
        "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{HALF}",
        HALF.len() + REST.len()
    );
    call.send(head.as_bytes()).unwrap();
    call
}

/// Idle connections are closed, busy, new and resumed ones refused with this code, in both versions of TLS; and
/// another client's connections go on.
fn stops_every_connection(
    stack: &Stack,
    make: impl Fn() -> Doomed,
    stop: impl Fn(&Doomed),
    code: &'static str,
) {
    for version in VERSIONS {
        // A certificate that is short of life is made last.
        let (other, doomed) = (Sender::new(stack), make());
        let kinds = Kinds::of(stack, &doomed.client, version);
        let mut of_other = open(stack, &Caller::of(&other.client, version));

        stop(&doomed);

        wait_for_code(stack, &doomed.curl, code);
        kinds.are_stopped(stack, Stopped::with(code));
        assert_eq!(of_other.get("/health").unwrap().0, 200, "{version:?}");
    }
}

#[test]
fn a_status_of_revoked_suspended_or_expired_stops_every_connection_of_the_client_and_no_other() {
    let stack = shared_stack();
    for (status, code) in [
        ("revoked", "certificate_revoked"),
        ("suspended", "client_suspended"),
        ("expired", "certificate_expired"),
    ] {
        let stop = |doomed: &Doomed| doomed.update(stack, &format!("status = '{status}'"));
        stops_every_connection(stack, || Doomed::new(stack), stop, code);
    }
}

#[test]
fn a_registration_that_ends_by_the_clock_stops_every_connection_without_a_change_of_the_table() {
    let stack = shared_stack();
    let stop = |doomed: &Doomed| doomed.update(stack, "expires_at = now() + interval '1 second'");
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_expired");
}

#[test]
fn an_end_that_is_set_to_the_past_stops_every_connection_of_the_client_and_no_other() {
    let stack = shared_stack();
    let stop = |doomed: &Doomed| doomed.update(stack, "expires_at = now() - interval '1 day'");
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_expired");
}

#[test]
fn a_certificate_that_ends_by_the_clock_stops_every_connection_without_a_change_of_the_table() {
    let stack = shared_stack();
    let short = || {
        let name = new_name();
        let mut request = request(stack, &name);
        request.not_after = OffsetDateTime::now_utc() + Duration::seconds(8);
        let holder = Holder::of(stack, stack.authority().clients().sign(&request).unwrap());
        holder.register_as(stack, &name);
        stack.wait_until_known(&holder.client).unwrap();
        Doomed { curl: holder.curl(), client: holder.client }
    };
    stops_every_connection(stack, short, |_| (), "certificate_expired");
}

#[test]
fn a_deleted_row_stops_every_connection_of_the_client_and_no_other() {
    let stack = shared_stack();
    let stop = |doomed: &Doomed| {
        stack.sql(&format!("DELETE FROM clients WHERE client_id = '{}'", doomed.client.id)).unwrap();
    };
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_unknown");
}

#[test]
fn a_replaced_fingerprint_stops_every_connection_with_the_old_certificate() {
    let stack = shared_stack();
    let stop = |doomed: &Doomed| {
        let other = "md5(random()::text) || md5(random()::text)";
        doomed.update(stack, &format!("cert_fingerprint = {other}"));
    };
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_unknown");
}
