//! Renewal without an outage: two certificates of one client, for a while.

use local::{Client, Stack};

use super::{Doomed, open, stops_every_connection, wait_for_code};
use crate::support::{
    Sender,
    caller::{Caller, VERSIONS},
    holder::{Holder, request},
    shared_stack,
};

/// A client's new certificate, registered by the database's function.
fn renew(stack: &Stack, client: &Client, overlap: &str) -> Holder {
    let name = client.id.parse().unwrap();
    let renewed = Holder::of(stack, stack.authority().clients().sign(&request(stack, &name)).unwrap());
    let statement = format!(
        "SELECT renew_client('{name}', '{}', now() + interval '1 year', '{overlap}')",
        renewed.leaf.fingerprint()
    );
    stack.sql(&statement).unwrap();
    renewed
}

#[test]
fn both_certificates_are_the_client_until_the_overlap_ends_by_the_clock() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let mut idle = open(stack, &Caller::of(&sender.client, VERSIONS[1]));
    let renewed = renew(stack, &sender.client, "6 seconds");
    wait_for_code(stack, &renewed.curl(), "");
    let both = [&sender.curl, &renewed.curl()].map(|curl| {
        let seen = curl.get(&sender.at("/api/v1/whoami")).unwrap().json().unwrap();
        (seen["client_id"].clone(), seen["fingerprint"].clone())
    });
    assert_eq!(both[0].0, sender.client.id);
    assert_eq!(both[1].0, sender.client.id);
    assert_ne!(both[0].1, both[1].1);
    let mut of_new = open(stack, &Caller::of(&renewed.client, VERSIONS[1]));

    assert_eq!(idle.read_to_close().unwrap(), "");
    wait_for_code(stack, &sender.curl, "certificate_expired");
    assert_eq!(of_new.get("/health").unwrap().0, 200);
}

#[test]
fn revoking_a_client_in_its_overlap_stops_both_certificates() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let renewed = renew(stack, &sender.client, "1 hour");
    wait_for_code(stack, &renewed.curl(), "");
    let mut connections =
        [&sender.client, &renewed.client].map(|client| open(stack, &Caller::of(client, VERSIONS[1])));
    let id = &sender.client.id;
    stack.sql(&format!("UPDATE clients SET status = 'revoked' WHERE client_id = '{id}'")).unwrap();
    for connection in &mut connections {
        assert_eq!(connection.read_to_close().unwrap(), "");
    }
    for curl in [&sender.curl, &renewed.curl()] {
        wait_for_code(stack, curl, "certificate_revoked");
    }
    // Also when no row is left that says so.
    stack.sql(&format!("DELETE FROM clients WHERE client_id = '{id}'")).unwrap();
    let other = Sender::new(stack); // known: that deletion is in force
    for curl in [&sender.curl, &renewed.curl()] {
        wait_for_code(stack, curl, "certificate_revoked");
    }
    assert_eq!(other.get("/health").status, 200);
}

#[test]
fn an_overlap_that_is_deleted_stops_the_old_certificate_and_not_the_new_one() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let renewed = renew(stack, &sender.client, "1 hour");
    wait_for_code(stack, &renewed.curl(), "");
    let mut idle = open(stack, &Caller::of(&sender.client, VERSIONS[1]));
    let mut of_new = open(stack, &Caller::of(&renewed.client, VERSIONS[1]));
    let id = &sender.client.id;
    stack.sql(&format!("DELETE FROM former_certificates WHERE client_id = '{id}'")).unwrap();
    assert_eq!(idle.read_to_close().unwrap(), "");
    wait_for_code(stack, &sender.curl, "certificate_unknown");
    assert_eq!(of_new.get("/health").unwrap().0, 200);
}

#[test]
fn the_end_of_an_overlap_stops_every_connection_with_the_old_certificate() {
    let stack = shared_stack();
    let ends = |doomed: &Doomed| {
        renew(stack, &doomed.client, "1 second");
    };
    stops_every_connection(stack, || Doomed::new(stack), ends, "certificate_expired");
    let is_deleted = |doomed: &Doomed| {
        let renewed = renew(stack, &doomed.client, "1 hour");
        wait_for_code(stack, &renewed.curl(), "");
        let id = &doomed.client.id;
        stack.sql(&format!("DELETE FROM former_certificates WHERE client_id = '{id}'")).unwrap();
    };
    stops_every_connection(stack, || Doomed::new(stack), is_deleted, "certificate_unknown");
}
