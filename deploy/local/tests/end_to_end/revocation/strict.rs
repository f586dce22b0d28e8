//! A door that refuses by TLS alert: whom it stops, on every kind of connection, and that it is written down.

use local::{Curl, Stack, eventually};
use rustls::{AlertDescription, HandshakeKind};

use super::{Doomed, REST, busy, open};
use crate::support::{
    DEADLINE, Sender,
    caller::{Caller, VERSIONS},
    holder::{Holder, expired, new_name, request},
    options,
};

fn strict() -> Stack {
    Stack::start(options().processes(1, 1, 0).proxy_config("[tls]\nhandshake = 'strict'")).unwrap()
}

/// Waits until a new handshake meets this alert.
fn wait_for_alert(stack: &Stack, caller: &Caller, expected: AlertDescription) {
    let mut last = None;
    let seen = eventually(DEADLINE, || {
        let alert = caller.alert(stack.url());
        let seen = alert == Ok(expected);
        last = Some(alert);
        seen.then_some(())
    });
    assert!(seen.is_some(), "never {expected:?}: {last:?}");
}

/// Waits until `audit_log` has exactly one refusal of a certificate, this one.
fn wait_for_audit(stack: &Stack, fingerprint: &str, expected: &str) {
    let log = format!(
        "SELECT what, coalesce(client_id, 'nobody'), new ->> 'proxy' FROM audit_log
         WHERE cert_fingerprint = '{fingerprint}' AND what LIKE 'refused %'"
    );
    let seen = eventually(DEADLINE, || (stack.sql(&log).unwrap().trim() == expected).then_some(()));
    assert!(seen.is_some(), "{expected} is not {}", stack.sql(&log).unwrap());
}

fn fingerprint(stack: &Stack, client: &str) -> String {
    let row = format!("SELECT cert_fingerprint FROM clients WHERE client_id = '{client}'");
    stack.sql(&row).unwrap().trim().to_owned()
}

#[test]
fn a_strict_door_stops_every_connection_and_what_it_refuses_by_alert_is_audited_with_its_code() {
    let stack = strict();
    for (status, alert, code) in [
        ("revoked", AlertDescription::CertificateRevoked, "certificate_revoked"),
        ("suspended", AlertDescription::AccessDenied, "client_suspended"),
        ("expired", AlertDescription::CertificateExpired, "certificate_expired"),
    ] {
        for version in VERSIONS {
            let (other, doomed) = (Sender::new(&stack), Doomed::new(&stack));
            let caller = Caller::of(&doomed.client, version);
            let (mut idle, mut busy) = (open(&stack, &caller), busy(&stack, &caller));
            let mut of_other = open(&stack, &Caller::of(&other.client, version));
            let again = caller.connect(stack.url()).unwrap();
            assert_eq!(again.handshake_kind(), Some(HandshakeKind::Full), "nothing is resumed");
            drop(again);

            doomed.update(&stack, &format!("status = '{status}'"));
            assert_eq!(idle.read_to_close().unwrap(), "", "{status} {version:?}");
            wait_for_alert(&stack, &caller, alert);
            busy.send(REST.as_bytes()).unwrap();
            let (answer, problem) = busy.answer().unwrap();
            assert!(answer == 403 && problem.contains(code), "{status} {version:?}: {answer} {problem}");
            assert_eq!(of_other.get("/health").unwrap().0, 200, "{status} {version:?}");
        }
    }
    // Refused by alert alone: no request of it was ever answered 403.
    let sender = Sender::new(&stack);
    let (id, of_sender) = (&sender.client.id, fingerprint(&stack, &sender.client.id));
    stack.sql(&format!("UPDATE clients SET status = 'revoked' WHERE client_id = '{id}'")).unwrap();
    wait_for_alert(&stack, &Caller::of(&sender.client, VERSIONS[1]), AlertDescription::CertificateRevoked);
    let status = format!("SELECT last_refusal_code FROM client_status WHERE client_id = '{id}'");
    let shown =
        eventually(DEADLINE, || (stack.sql(&status).unwrap().trim() == "certificate_revoked").then_some(()));
    assert!(shown.is_some(), "{}", stack.sql(&status).unwrap());
    let log = format!(
        "SELECT what, client_id FROM audit_log WHERE cert_fingerprint = '{of_sender}'
         AND what = 'refused certificate_revoked'"
    );
    assert_eq!(stack.sql(&log).unwrap().trim(), format!("refused certificate_revoked|{id}"));
}

#[test]
fn a_strict_door_audits_who_is_unknown_or_outside_its_dates_and_no_stranger() {
    let stack = strict();
    let clients = stack.authority().clients();
    let unknown = Holder::of(&stack, clients.sign(&request(&stack, &new_name())).unwrap());
    let name = new_name();
    let ended = Holder::of(&stack, clients.sign(&expired(request(&stack, &name))).unwrap());
    ended.register_as(&stack, &name);
    let stranger = Holder::of(&stack, request(&stack, &new_name()).self_signed().unwrap());
    let last = Sender::new(&stack); // known: so is the row above
    assert_eq!(last.get("/health").status, 200);

    for (holder, alert) in [
        (&stranger, AlertDescription::UnknownCA),
        (&unknown, AlertDescription::AccessDenied),
        (&ended, AlertDescription::CertificateExpired),
    ] {
        for version in VERSIONS {
            assert_eq!(Caller::of(&holder.client, version).alert(stack.url()), Ok(alert), "{version:?}");
        }
        let answer = Curl::of(&holder.client).get(&format!("{}/health", stack.url())).unwrap();
        assert_eq!(answer.status, 0, "{answer:?}");
    }
    let of = |holder: &Holder| holder.leaf.fingerprint().to_string();
    wait_for_audit(&stack, &of(&unknown), "refused certificate_unknown|nobody|proxy-1");
    wait_for_audit(&stack, &of(&ended), &format!("refused certificate_expired|{name}|proxy-1"));
    let of_stranger = format!("SELECT count(*) FROM audit_log WHERE cert_fingerprint = '{}'", of(&stranger));
    assert_eq!(stack.sql(&of_stranger).unwrap().trim(), "0");
}
