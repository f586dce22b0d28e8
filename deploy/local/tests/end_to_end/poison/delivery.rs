//! A message that cannot be delivered, or that kills whoever tries: it dies alone, and the others flow.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{collections::BTreeSet, time::Duration};

use local::{Answer, Curl, Stack, eventually};
use private_postgres::psql;
use serde_json::{Value, json};

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::{accepted, id_of},
};

/// Every attempt with the poison costs a lease's time.
const LONGER: Duration = Duration::from_mins(2);
const POISON: &str = "poison";

/// A worker that does what the test says, with the certificate of a real one.
struct ScriptedWorker {
    curl: Curl,
    url: String,
}

impl ScriptedWorker {
    fn new(stack: &mut Stack) -> Self {
        let worker = stack.add_worker("").unwrap();
        worker.process.stop().unwrap();
        let curl = Curl::believing(&stack.pki().join("ca.crt"))
            .with_certificate(&stack.workers[0].cert, &stack.workers[0].key);
        Self { curl, url: stack.main_servers[0].worker_url.clone() }
    }

    fn ask(&self, verb: &str, request: &Value) -> Answer {
        let answer =
            self.curl.post(&format!("{}/api/v1/jobs/{verb}", self.url), request.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{verb}: {answer:?}");
        answer
    }

    /// What is ready now: the poison, and the others.
    fn lease(&self, seconds: u32) -> (Vec<Value>, Vec<Value>) {
        let request = json!({ "queue": "default", "max": 50, "lease_seconds": seconds });
        let jobs = self.ask("lease", &request).json().unwrap()["jobs"].as_array().unwrap().clone();
        jobs.into_iter().partition(|job| job["message_body"] == POISON)
    }

    fn complete(&self, jobs: &[Value]) {
        if !jobs.is_empty() {
            self.ask("complete", &json!({ "jobs": jobs.iter().map(held).collect::<Vec<_>>() }));
        }
    }

    fn fail(&self, jobs: &[Value], error: &str) {
        let failed = jobs.iter().map(|job| {
            let mut failed = held(job);
            failed["error"] = error.into();
            failed
        });
        if !jobs.is_empty() {
            self.ask("fail", &json!({ "jobs": failed.collect::<Vec<_>>() }));
        }
    }
}

fn held(job: &Value) -> Value {
    json!({ "job_id": job["job_id"], "lease_token": job["lease_token"] })
}

fn start(rules: &str) -> (Stack, ScriptedWorker, Sender) {
    let options = options().processes(1, 1, 0).main_server_config("[queue]\nreap_every = '100ms'");
    let mut stack = Stack::start(options).unwrap();
    stack.sql(&format!("UPDATE queues SET {rules}")).unwrap();
    let worker = ScriptedWorker::new(&mut stack);
    let sender = Sender::new(&stack);
    (stack, worker, sender)
}

/// Twenty messages, one of which is poison; the ids of the others, and its own.
fn post_twenty(sender: &Sender) -> (BTreeSet<String>, String) {
    let answers: Vec<_> =
        (0..20).map(|number| sender.post_message(if number == 7 { POISON } else { "harmless" })).collect();
    let poison = id_of(&answers[7]);
    let mut others = accepted(&answers);
    assert!(others.len() == 20 && others.remove(&poison), "{answers:?}");
    (others, poison)
}

fn of(stack: &Stack, query: &str) -> String {
    psql(stack.owner_url(), query).unwrap().trim().to_owned()
}

#[test]
fn a_poison_message_that_no_sink_takes_is_dead_after_its_attempts_and_the_others_flow() {
    let (stack, worker, sender) = start("max_attempts = 3, backoff_base_seconds = 0.05");
    let (_, poison) = post_twenty(&sender);
    let over = eventually(DEADLINE, || {
        let (poison, others) = worker.lease(30);
        worker.complete(&others);
        worker.fail(&poison, "the endpoint answered 500");
        (of(&stack, "SELECT count(*) FROM jobs WHERE state IN ('ready', 'leased')") == "0").then_some(())
    });
    assert!(over.is_some(), "{}", of(&stack, "SELECT state, count(*) FROM jobs GROUP BY state"));
    let dead = "SELECT message_id || ' ' || attempt || ' ' || dead_reason FROM jobs WHERE state = 'dead'";
    assert_eq!(of(&stack, dead), format!("{poison} 3 attempts_exhausted"));
    assert_eq!(of(&stack, "SELECT count(*) || ' ' || max(attempt) FROM jobs WHERE state = 'done'"), "19 1");
    let attempts = "SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY attempt) FROM job_attempts";
    assert_eq!(of(&stack, attempts), "1 failed, 2 failed, 3 failed");
}

#[test]
fn a_poison_message_that_kills_its_workers_is_dead_after_its_attempts_and_the_others_flow() {
    // halved from twenty, it is alone after five deaths
    let (stack, worker, sender) = start("max_attempts = 8");
    let (others, poison) = post_twenty(&sender);
    let mut deaths = 0;
    let over = eventually(LONGER, || {
        let (poison, others) = worker.lease(1);
        // whoever meets the poison dies with all that it has in hand, and another one is started
        if poison.is_empty() {
            worker.complete(&others);
        } else {
            deaths += 1;
        }
        (of(&stack, "SELECT count(*) FROM jobs WHERE state IN ('ready', 'leased')") == "0").then_some(())
    });
    assert!(over.is_some(), "{}", of(&stack, "SELECT state, count(*) FROM jobs GROUP BY state"));
    let dead = "SELECT message_id || ' ' || attempt || ' ' || dead_reason FROM jobs WHERE state = 'dead'";
    assert_eq!(of(&stack, dead), format!("{poison} 8 lease_expired"));
    assert_eq!(deaths, 8);
    let done = of(&stack, "SELECT message_id FROM jobs WHERE state = 'done'");
    assert_eq!(done.lines().map(str::to_owned).collect::<BTreeSet<_>>(), others);
}
