//! Connections and sessions that were there before the refusal carry nothing over it.

use local::eventually;
use rustls::HandshakeKind;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{update, wait_for_status};
use crate::support::{
    DEADLINE, Sender,
    caller::{Caller, VERSIONS},
    repeater::Repeater,
    shared_stack,
};

#[test]
fn revoking_a_client_on_an_open_connection_refuses_its_next_request_and_disturbs_nobody_else() {
    let stack = shared_stack();
    for (http, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let (revoked, other) = (Sender::new(stack), Sender::new(stack));
        let start =
            |sender: &Sender| Repeater::start(&sender.curl.clone().flag(http), &sender.at("/api/v1/whoami"));
        let (doomed, kept) = (start(&revoked), start(&other));
        for repeater in [&doomed, &kept] {
            // The second answer came over the connection of the first.
            let seen = repeater.wait_for(|answer| answer.status == 200);
            assert_eq!((seen.connections, seen.version.as_str()), (0, version));
        }
        update(stack, &revoked.client, "status = 'revoked'");
        doomed.wait_for(|answer| answer.status == 403);
        for _ in 0..5 {
            doomed.wait_for(|answer| answer.status == 403);
            kept.wait_for(|answer| answer.status == 200);
        }
        let answers = doomed.results();
        let first = answers.iter().position(|answer| answer.status != 200).unwrap();
        assert!(answers[first..].iter().all(|answer| answer.status != 200), "{answers:?}");
        let answers = kept.results();
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        assert!(answers[1..].iter().all(|answer| answer.connections == 0), "{answers:?}");
    }
}

#[test]
fn an_idle_connection_of_a_revoked_client_is_closed_and_no_other() {
    let stack = shared_stack();
    for version in VERSIONS {
        let (revoked, other) = (Sender::new(stack), Sender::new(stack));
        let open = |sender: &Sender| {
            let mut call = Caller::of(&sender.client, version).connect(stack.url()).unwrap();
            assert_eq!(call.get("/health").unwrap().0, 200);
            call
        };
        let (mut doomed, mut kept) = (open(&revoked), open(&other));
        update(stack, &revoked.client, "status = 'revoked'");
        assert_eq!(doomed.read_to_close().unwrap(), "");
        assert_eq!(kept.get("/health").unwrap().0, 200);
    }
}

#[test]
fn a_refused_client_is_told_why_however_often_its_row_is_read() {
    let stack = shared_stack();
    let (refused, other) = (Sender::new(stack), Sender::new(stack));
    update(stack, &refused.client, "status = 'suspended'");
    wait_for_status(stack, &refused.curl, 403);
    // A transaction that began before makes every sync fetch all that changed since.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut lasting = runtime.block_on(PgConnection::connect(stack.owner_url())).unwrap();
    runtime.block_on(lasting.execute("BEGIN; SELECT pg_current_xact_id()")).unwrap();
    update(stack, &refused.client, "status = 'revoked'");
    let revoked =
        eventually(DEADLINE, || (refused.get("/health").code() == "certificate_revoked").then_some(()));
    assert!(revoked.is_some());

    let mut call = Caller::of(&refused.client, VERSIONS[1]).connect(stack.url()).unwrap();
    for status in ["suspended", "active"] {
        update(stack, &other.client, &format!("status = '{status}'"));
        wait_for_status(stack, &other.curl, if status == "active" { 200 } else { 403 });
    }
    let (status, body) = call.get("/health").unwrap();
    assert_eq!(status, 403, "{body}");
}

#[test]
fn a_revoked_client_cannot_resume() {
    let stack = shared_stack();
    for version in VERSIONS {
        let sender = Sender::new(stack);
        let caller = Caller::of(&sender.client, version);
        let ask = || {
            let mut call = caller.connect(stack.url()).unwrap();
            let (status, body) = call.get("/health").unwrap();
            (call.handshake_kind(), status, body)
        };
        let (kind, status, _) = ask();
        assert_eq!((kind, status), (Some(HandshakeKind::Full), 200));
        let (kind, status, _) = ask();
        assert_eq!((kind, status), (Some(HandshakeKind::Resumed), 200), "{version:?}");
        update(stack, &sender.client, "status = 'revoked'");
        let refused = eventually(DEADLINE, || Some(ask()).filter(|(_, status, _)| *status != 200));
        let (kind, status, body) = refused.unwrap();
        assert_eq!(status, 403, "{version:?}: {body}");
        assert!(body.contains("certificate_revoked"), "{version:?}: {body}");
        // It was a session of the time before, and that did not help.
        assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}");
    }
}
