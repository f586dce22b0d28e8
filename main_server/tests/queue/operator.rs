//! The operators' routes: over TLS, with `curl`, against the shipped binary.

mod door;

use std::collections::BTreeSet;

use serde_json::Value;
use shared::{identity::Role, wire::submit::SubmittedMessage};

use self::door::{Answer, Door};
use crate::{
    rotation::server::{Server, refused},
    stack::{eventually, message},
};

impl Server {
    /// So many dead letters of a client; each attempt's error quotes the text.
    async fn dead_letters(&self, client: &str, count: usize) -> Vec<SubmittedMessage> {
        let sent: Vec<_> = (0..count).map(|number| message(client, &format!("text {number}"))).collect();
        self.store(&sent).await;
        let mut left = count;
        while left > 0 {
            let jobs = self.lease().await;
            left -= jobs.len();
            let failed: Vec<_> = jobs
                .iter()
                .map(|job| shared::wire::fail::FailedJob {
                    dead: true,
                    ..refused(job, &format!("no sink for {}", job.message_body))
                })
                .collect();
            self.fail(&failed).await;
        }
        sent
    }

    async fn states(&self) -> String {
        let counted = "SELECT state, count(*) AS jobs FROM jobs GROUP BY state";
        self.value(&format!(
            "SELECT string_agg(state || ' ' || jobs, ', ' ORDER BY state) FROM ({counted}) s"
        ))
        .await
    }

    /// The rows of the audit log about dead letters that an operator asked for.
    async fn audited(&self) -> String {
        let row = "what || ' ' || coalesce(new ->> 'jobs', '-') || ' by ' || (new ->> 'by')";
        self.value(&format!(
            "SELECT string_agg({row}, ', ' ORDER BY id) FROM audit_log WHERE what LIKE 'dead letters%'"
        ))
        .await
    }
}

fn letters(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["dead_letters"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_route_of_the_worker_door_admits_its_role_alone() {
    let door = Door::open().await;
    let (alice, worker) =
        (door.service(Role::Operator, "alice").await, door.service(Role::Worker, "worker-1").await);
    for path in
        ["/api/v1/queues", "/api/v1/dead-letters", "/api/v1/dead-letters/export", "/api/v1/dead-letters/x"]
    {
        let refused = worker.get(path);
        assert_eq!((refused.status, refused.code().as_str()), (403, "role_not_admitted"), "{path}");
    }
    for path in ["/api/v1/dead-letters/redrive", "/api/v1/dead-letters/discard"] {
        assert_eq!(worker.post(path, r#"{"all": true}"#).code(), "role_not_admitted", "{path}");
        let other = alice.get(path);
        assert_eq!((other.status, other.code().as_str()), (405, "method_not_allowed"), "{path}");
        assert!(other.head.contains("allow: post"), "{}", other.head);
    }
    for verb in ["lease", "renew", "complete", "fail"] {
        let refused = alice.post(&format!("/api/v1/jobs/{verb}"), r#"{"queue": "default", "max": 1}"#);
        assert_eq!((refused.status, refused.code().as_str()), (403, "role_not_admitted"), "{verb}");
    }
    let lease = worker.post("/api/v1/jobs/lease", r#"{"queue": "default", "max": 1}"#);
    assert_eq!(lease.status, 200, "{lease:?}");
    assert_eq!((alice.get("/api/v1/nothing").status, worker.get("/api/v1/nothing").status), (404, 404));
    let audited =
        "SELECT string_agg(DISTINCT client_id, ' ') FROM audit_log WHERE what = 'refused role_not_admitted'";
    eventually(|| async { door.queue.value(audited).await == "operator/alice worker/worker-1" }).await;

    door.queue.sql("UPDATE services SET status = 'revoked' WHERE service_id = 'alice'").await;
    eventually(|| async { alice.get("/api/v1/queues").code() == "certificate_revoked" }).await;
    door.end().await;
}

#[tokio::test]
async fn an_operator_sees_every_queue_with_its_rules_and_what_it_holds() {
    let door = Door::open().await;
    let alice = door.service(Role::Operator, "alice").await;
    door.queue
        .sql("INSERT INTO queues (name, max_attempts, paused, max_backlog) VALUES ('bulk', 3, true, 9)")
        .await;
    door.queue.dead_letters("client_001", 2).await;
    door.queue.store(&[message("client_001", "waits")]).await;
    let answer = alice.get("/api/v1/queues");
    let json = answer.json();
    let queues = json["queues"].as_array().unwrap();
    let names: Vec<_> = queues.iter().map(|queue| queue["queue"].as_str().unwrap()).collect();
    assert_eq!(names, ["bulk", "default"], "{answer:?}");
    let rules = &queues[0]["rules"];
    assert_eq!(
        (&rules["max_attempts"], &rules["paused"], &rules["max_backlog"]),
        (&3.into(), &true.into(), &9.into())
    );
    assert_eq!(rules["retention_seconds"], 604_800.0);
    let held = &queues[1];
    assert_eq!((&held["ready"], &held["leased"], &held["dead"]), (&1.into(), &0.into(), &2.into()));
    assert!(held["oldest_ready_seconds"].as_f64().unwrap() >= 0.0);
    door.end().await;
}

#[tokio::test]
async fn dead_letters_come_in_pages_with_their_errors_and_are_opened_only_when_asked() {
    let door = Door::open().await;
    let alice = door.service(Role::Operator, "alice").await;
    let sent = door.queue.dead_letters("client_001", 5).await;
    door.queue.dead_letters("client_002", 2).await;
    let (mut seen, mut path) = (BTreeSet::new(), "/api/v1/dead-letters?limit=3".to_owned());
    for expected in [3, 3, 1] {
        let answer = alice.get(&path);
        let page = letters(&answer);
        assert_eq!(page.len(), expected);
        assert!(answer.head.contains("cache-control: no-store") && !answer.body.contains("message_body"));
        seen.extend(page.iter().map(|letter| letter["message_id"].to_string()));
        let json = answer.json();
        path = format!("/api/v1/dead-letters?limit=3&after={}", json["next"].as_str().unwrap_or("none"));
        assert_eq!(json.get("next").is_some(), expected == 3);
    }
    assert_eq!(seen.len(), 7);

    let id = sent[3].message_id;
    let one = &letters(&alice.get(&format!("/api/v1/dead-letters/{id}?include=body")))[0];
    assert_eq!((&one["message_body"], &one["sender_number"]), (&"text 3".into(), &"+1234567890".into()));
    assert_eq!(
        (&one["dead_reason"], &one["attempts"], &one["client_id"]),
        (&"refused".into(), &1.into(), &"client_001".into())
    );
    let failure = &one["failures"][0];
    assert_eq!((&failure["error"], &failure["worker"]), (&"no sink for text 3".into(), &"worker-1".into()));

    door.queue.sql(&format!("UPDATE messages SET key_id = 'k9' WHERE message_id = '{id}'")).await;
    let closed = &letters(&alice.get("/api/v1/dead-letters?include=body&client_id=client_001"))[3];
    assert!(closed["unreadable"].as_str().unwrap().contains("\"k9\""), "{closed}");
    assert_eq!(letters(&alice.get("/api/v1/dead-letters?reason=lease_expired")).len(), 0);
    assert_eq!(letters(&alice.get("/api/v1/dead-letters?queue=default&since=2020-01-01T00:00:00Z")).len(), 7);
    for missing in ["/api/v1/dead-letters/x", "/api/v1/dead-letters/00000000-0000-0000-0000-000000000000"] {
        assert_eq!(alice.get(missing).code(), "not_found");
    }
    for refused in ["?que=default", "?limit=0", "?after=x", "?since=yesterday"] {
        let answer = alice.get(&format!("/api/v1/dead-letters{refused}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_field"), "{refused}");
    }
    let audited = door.queue.audited().await;
    assert!(audited.starts_with("dead letters list 3 by operator/alice, dead letters list 3"), "{audited}");
    door.end().await;
}

#[tokio::test]
async fn dead_letters_are_redriven_and_discarded_by_id_and_by_filter_and_never_all_by_mistake() {
    let door = Door::open().await;
    let alice = door.service(Role::Operator, "alice").await;
    let (one, two) =
        (door.queue.dead_letters("client_001", 4).await, door.queue.dead_letters("client_002", 30).await);
    let [redrive, discard] = ["redrive", "discard"].map(|verb| format!("/api/v1/dead-letters/{verb}"));
    for mistake in ["{}", r#"{"limit": 7}"#, r#"{"client": "client_001"}"#, r#"{"message_ids": []}"#] {
        for path in [&redrive, &discard] {
            assert_eq!(alice.post(path, mistake).code(), "invalid_field", "{path} {mistake}");
        }
    }
    assert_eq!(door.queue.states().await, "dead 34");

    let named = format!(r#"{{"message_ids": ["{}", "{}"]}}"#, one[0].message_id, one[1].message_id);
    assert_eq!(alice.post(&redrive, &named).json(), serde_json::json!({"redriven": 2, "more": false}));
    assert_eq!(alice.post(&redrive, &named).json()["redriven"], 0, "they are no dead letters any more");
    let named = format!(r#"{{"message_ids": ["{}"]}}"#, one[2].message_id);
    assert_eq!(alice.post(&discard, &named).json(), serde_json::json!({"discarded": 1, "more": false}));
    assert_eq!(door.queue.states().await, "cancelled 1, dead 31, ready 2");

    let slowly = r#"{"client_id": "client_002", "per_second": 2, "limit": 20}"#;
    assert_eq!(alice.post(&redrive, slowly).json(), serde_json::json!({"redriven": 20, "more": true}));
    let ids: Vec<_> = two.iter().map(|sent| format!("'{}'", sent.message_id)).collect();
    let spread = format!(
        "SELECT extract(epoch FROM max(ready_at) - min(ready_at)) BETWEEN 9 AND 10
         FROM jobs WHERE state = 'ready' AND message_id IN ({})",
        ids.join(",")
    );
    assert_eq!(door.queue.value(&spread).await, "true");
    assert_eq!(alice.post(&discard, r#"{"reason": "refused", "queue": "default"}"#).json()["discarded"], 11);
    assert_eq!(alice.post(&redrive, r#"{"all": true}"#).json()["redriven"], 0);
    assert_eq!(door.queue.states().await, "cancelled 12, ready 22");
    let by = "by operator/alice";
    let expected =
        [("redrive", 2), ("redrive", 0), ("discard", 1), ("redrive", 20), ("discard", 11), ("redrive", 0)];
    let expected = expected.map(|(verb, jobs)| format!("dead letters {verb} {jobs} {by}"));
    assert_eq!(door.queue.audited().await, expected.join(", "));
    door.end().await;
}

#[tokio::test]
async fn all_dead_letters_are_exported_a_line_each() {
    let door = Door::open().await;
    let alice = door.service(Role::Operator, "alice").await;
    // two whole pages and one that is not
    let sent = door.queue.dead_letters("client_001", 230).await;
    door.queue.dead_letters("client_002", 3).await;
    let answer = alice.get("/api/v1/dead-letters/export?client_id=client_001&include=body");
    assert!(answer.head.contains("content-type: application/x-ndjson"), "{}", answer.head);
    let lines: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exported: BTreeSet<_> = lines
        .iter()
        .map(|line| (line["message_id"].as_str().unwrap(), line["message_body"].as_str().unwrap()))
        .collect();
    let ids: Vec<_> = sent.iter().map(|one| (one.message_id.to_string(), one.message_body.clone())).collect();
    let expected: BTreeSet<_> = ids.iter().map(|(id, body)| (id.as_str(), body.as_str())).collect();
    assert_eq!((lines.len(), exported), (230, expected));
    assert_eq!(
        door.queue.audited().await,
        "dead letters export - by operator/alice, dead letters exported 230 by operator/alice"
    );
    assert_eq!(alice.get("/api/v1/dead-letters/export?limit=3").code(), "invalid_field");
    door.end().await;
}
