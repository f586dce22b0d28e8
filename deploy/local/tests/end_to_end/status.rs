//! What became of a message, told to its sender and to nobody else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use local::{Client, Curl, Stack};
use private_postgres::psql;
use serde_json::{Value, json};

use crate::{
    support::{DEADLINE, Sender, options, shared_stack},
    traffic::id_of,
};

/// A worker that does what it is told, one job at a time.
struct Worker {
    curl: Curl,
    url: String,
    held: Value,
}

impl Worker {
    fn of(stack: &Stack) -> Self {
        let worker = &stack.workers[0];
        worker.process.kill().unwrap();
        let client = Client {
            id: "worker-1".to_owned(),
            cert: worker.cert.clone(),
            key: worker.key.clone(),
            ca: stack.pki().join("ca.crt"),
        };
        Self { curl: Curl::of(&client), url: stack.main_servers[0].worker_url.clone(), held: Value::Null }
    }

    fn ask(&self, verb: &str, request: &Value) -> Value {
        let answer =
            self.curl.post(&format!("{}/api/v1/jobs/{verb}", self.url), request.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{verb}: {answer:?}");
        answer.json().unwrap()
    }

    fn lease(&mut self, message_id: &str) {
        let leased = self.ask("lease", &json!({ "queue": "default", "max": 1, "wait_seconds": 10 }));
        let job = &leased["jobs"][0];
        assert_eq!(job["message_id"], message_id, "{leased}");
        self.held = json!({ "job_id": job["job_id"], "lease_token": job["lease_token"] });
    }

    fn complete(&self) {
        expect_ok(&self.ask("complete", &json!({ "jobs": [self.held] })));
    }

    fn fail(&self, delay_seconds: u32, dead: bool) {
        let mut failed = self.held.clone();
        failed["error"] = json!("the sink said no");
        failed["delay_seconds"] = json!(delay_seconds);
        failed["dead"] = json!(dead);
        expect_ok(&self.ask("fail", &json!({ "jobs": [failed] })));
    }
}

fn expect_ok(answer: &Value) {
    assert_eq!(answer["results"][0]["outcome"], "ok", "{answer}");
}

fn status_of(sender: &Sender, id: &str) -> Value {
    let answer = sender.get(&format!("/api/v1/messages/{id}"));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
    answer.json().unwrap()
}

#[test]
fn a_sender_sees_its_message_go_through_every_state() {
    let stack = Stack::start(options().processes(1, 1, 1)).unwrap();
    let (sender, mut worker) = (Sender::new(&stack), Worker::of(&stack));
    let posted = sender.post_message("followed");
    let (id, accepted) = (id_of(&posted), posted.json().unwrap());
    // the Location of the 202 is the way to it
    assert_eq!(posted.header("location"), Some(format!("/api/v1/messages/{id}").as_str()));
    let expected = |status: &str, attempts: u32| {
        json!({ "message_id": id, "status": status, "client_id": sender.client.id,
                "queued_at": accepted["queued_at"], "attempts": attempts })
    };
    assert_eq!(status_of(&sender, &id), expected("queued", 0));
    worker.lease(&id);
    assert_eq!(status_of(&sender, &id), expected("processing", 1));
    worker.fail(0, false);
    let mut again = status_of(&sender, &id);
    let next = again.as_object_mut().unwrap().remove("next_attempt_at");
    assert!(next.is_some_and(|next| next.is_string()), "{again}");
    assert_eq!(again, expected("queued", 1));
    worker.lease(&id);
    worker.complete();
    let mut done = status_of(&sender, &id);
    let finished = done.as_object_mut().unwrap().remove("finished_at");
    assert!(finished.is_some_and(|at| at.as_str() > accepted["queued_at"].as_str()), "{done}");
    assert_eq!(done, expected("delivered", 2));

    let refused = id_of(&sender.post_message("refused by the sink"));
    worker.lease(&refused);
    worker.fail(0, true);
    let failed = status_of(&sender, &refused);
    assert_eq!((&failed["status"], &failed["attempts"]), (&json!("failed"), &json!(1)));
    assert!(failed["finished_at"].is_string(), "{failed}");

    let withdrawn = id_of(&sender.post_message("withdrawn"));
    let cancel = format!(
        "UPDATE job_groups SET state = 'cancelled', finished_at = now() WHERE '{withdrawn}' = ANY (message_ids)"
    );
    psql(stack.owner_url(), &cancel).unwrap();
    let cancelled = status_of(&sender, &withdrawn);
    assert_eq!((&cancelled["status"], &cancelled["attempts"]), (&json!("cancelled"), &json!(0)));
    assert!(cancelled["finished_at"].is_string(), "{cancelled}");
}

#[test]
fn of_several_queues_the_least_finished_one_counts() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let sender = Sender::new(&stack);
    let id = id_of(&sender.post_message("to many"));
    let also = |state: &str, columns: &str, values: &str| {
        let insert = format!(
            "INSERT INTO queues (name) VALUES ('{state}');
             INSERT INTO job_groups (origin, queue, message_ids, state{columns})
                 SELECT origin, '{state}', ARRAY[message_id], '{state}'{values} FROM messages WHERE message_id = '{id}'"
        );
        psql(stack.owner_url(), &insert).unwrap();
    };
    also("done", ", attempt, finished_at", ", 3, now()");
    assert_eq!(status_of(&sender, &id)["status"], "queued");
    let finish = |state: &str, more: &str| {
        let update = format!("UPDATE job_groups SET state = '{state}'{more} WHERE queue = 'default'");
        psql(stack.owner_url(), &update).unwrap();
    };
    finish(
        "leased",
        ", attempt = 1, lease_token = gen_random_uuid(), lease_expires_at = now() + interval '1 hour', leased_by = 'w'",
    );
    assert_eq!(status_of(&sender, &id)["status"], "processing");
    assert!(status_of(&sender, &id).get("finished_at").is_none());
    finish(
        "dead",
        ", lease_token = NULL, lease_expires_at = NULL, leased_by = NULL, dead_reason = 'refused', finished_at = now()",
    );
    assert_eq!(status_of(&sender, &id)["status"], "failed");
}

#[test]
fn nobody_but_the_sender_learns_that_a_message_exists() {
    let stack = shared_stack();
    let (sender, other) = (Sender::new(stack), Sender::new(stack));
    let id = id_of(&sender.post_message("mine"));
    stack.wait_for_delivery(&id, DEADLINE).unwrap();
    let unknown = "01a1fc03-b7b9-7504-b160-3ecfdaffe3c5";
    let mut refusals = Vec::new();
    let (simple, upper) = (id.replace('-', ""), format!("{{{id}}}"));
    for (asker, path) in [
        (&other, id.as_str()),
        (&other, unknown),
        (&sender, unknown),
        (&sender, "x"),
        (&sender, "%ff"),
        (&sender, &simple),
        (&sender, &upper),
    ] {
        let answer =
            asker.curl.clone().flag("--globoff").get(&asker.at(&format!("/api/v1/messages/{path}"))).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}: {answer:?}");
        let mut problem = answer.json().unwrap();
        problem.as_object_mut().unwrap().remove("request_id");
        let names: Vec<_> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
        refusals.push((problem, names));
    }
    assert!(refusals.iter().all(|one| *one == refusals[0]), "{refusals:?}");
    assert_eq!(status_of(&sender, &id)["status"], "delivered");
    let deleted =
        sender.curl.clone().with("--request", "DELETE").get(&sender.at(&format!("/api/v1/messages/{id}")));
    assert_eq!(deleted.unwrap().header("allow"), Some("GET,HEAD"));
}

#[test]
fn a_status_that_no_main_server_can_tell_is_503() {
    let patch = "[upstream]\nretry_for = '500ms'";
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config(patch)).unwrap();
    let sender = Sender::new(&stack);
    let id = id_of(&sender.post_message("where is it"));
    stack.main_servers[0].process.kill().unwrap();
    let answer = sender.get(&format!("/api/v1/messages/{id}"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer:?}");
    stack.main_servers[0].process.start().unwrap();
    stack.main_servers[0].process.wait_until_ready().unwrap();
    let back = local::eventually(DEADLINE, || {
        (sender.get(&format!("/api/v1/messages/{id}")).status == 200).then_some(())
    });
    assert!(back.is_some());
}
