//! What is known of a client, to the operator and to itself.

use local::eventually;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Doomed, wait_for_code};
use crate::support::{DEADLINE, Sender, shared_stack};

const EXPIRES: &str = "portcullis-certificate-expires";

#[test]
fn a_change_and_the_refusals_that_follow_are_audited_and_the_last_one_is_shown() {
    let stack = shared_stack();
    let doomed = Doomed::new(stack);
    let id = &doomed.client.id;
    doomed.update(stack, "status = 'suspended', revocation_reason = 'unpaid'");
    wait_for_code(stack, &doomed.curl, "client_suspended");
    let log = format!(
        "SELECT what, who LIKE 'portcullis_%', old ->> 'status', new ->> 'status', reason FROM audit_log
         WHERE client_id = '{id}' AND what <> 'refused certificate_unknown' -- before it was registered
         ORDER BY id"
    );
    let expected = "clients insert|f||active|\nclients update|t|active|suspended|unpaid\n\
                    refused client_suspended|t|||";
    let audited = eventually(DEADLINE, || (stack.sql(&log).unwrap().trim() == expected).then_some(()));
    assert!(audited.is_some(), "{}", stack.sql(&log).unwrap());

    let status = format!(
        "SELECT state, requests > 0, refusals > 0, last_refusal_code, first_seen_at < last_seen_at, last_proxy <> ''
         FROM client_status WHERE client_id = '{id}'"
    );
    let shown = stack.sql(&status).unwrap();
    assert_eq!(shown.trim(), "suspended|t|t|client_suspended|t|t");
}

#[test]
fn a_client_hears_of_its_end_on_every_answer_of_the_last_30_days_and_not_before() {
    let stack = shared_stack();
    let (soon, later) = (Sender::new(stack), Sender::new(stack));
    let ends = |sender: &Sender, days: i64| {
        let end = (OffsetDateTime::now_utc() + Duration::days(days)).replace_nanosecond(0).unwrap();
        let end = end.format(&Rfc3339).unwrap();
        let id = &sender.client.id;
        stack.sql(&format!("UPDATE clients SET expires_at = '{end}' WHERE client_id = '{id}'")).unwrap();
        let seen = eventually(DEADLINE, || {
            (sender.get("/api/v1/whoami").json().unwrap()["expires_at"] == end).then_some(())
        });
        assert!(seen.is_some(), "{:?}", sender.get("/api/v1/whoami"));
        end
    };
    ends(&later, 31);
    let end = ends(&soon, 29);
    for (sender, expected) in [(&soon, Some(end.as_str())), (&later, None)] {
        for answer in [
            sender.get("/health"),
            sender.get("/api/v1/whoami"),
            sender.post_message("hello"),
            sender.post("no json"),
            sender.get("/no/such/path"),
        ] {
            assert_eq!(answer.header(EXPIRES), expected, "{answer:?}");
        }
    }
}
