//! Every verb on every state: what is legal happens, and nothing else changes anything.

use shared::wire::lease::{Held, JobOutcome, JobResult};
use uuid::Uuid;

use crate::stack::{Stack, eventually, failed, message};

const STATES: [&str; 5] = ["ready", "leased", "done", "dead", "cancelled"];

/// A job in a given state, and the token that its (last) lease had.
struct Specimen {
    message_id: Uuid,
    held: Held,
}

impl Stack {
    async fn specimen(&self, state: &str) -> Specimen {
        let sent = message("client_001", state);
        self.store(&sent).await;
        let (id, token) = (sent.message_id, Uuid::new_v4());
        let change = match state {
            "ready" => "ready_at = now() + interval '1 h'".to_owned(),
            "leased" => format!(
                "state = 'leased', attempt = 1, lease_token = '{token}', leased_by = 'worker-1',
                 lease_expires_at = now() + interval '1 h'"
            ),
            "dead" => "state = 'dead', attempt = 1, finished_at = now(), dead_reason = 'refused'".to_owned(),
            finished => format!("state = '{finished}', attempt = 1, finished_at = now()"),
        };
        self.sql(format!("UPDATE job_groups SET {change} WHERE '{id}' = ANY (message_ids)")).await;
        Specimen { message_id: id, held: Held { job_id: id, lease_token: token } }
    }

    async fn row(&self, specimen: &Specimen) -> String {
        let id = specimen.message_id;
        self.value(format!("SELECT g FROM job_groups g WHERE '{id}' = ANY (message_ids)")).await
    }

    /// The reaper has looked at everything that is there now.
    async fn reaper_has_passed(&self) {
        let sentinel = self.specimen("leased").await;
        let id = sentinel.message_id;
        let expire =
            format!("UPDATE job_groups SET lease_expires_at = now() WHERE '{id}' = ANY (message_ids)");
        self.sql(expire).await;
        eventually(|| async { self.job_state(id).await == "ready" }).await;
        let put_off = format!(
            "UPDATE job_groups SET ready_at = now() + interval '1 h' WHERE '{id}' = ANY (message_ids)"
        );
        self.sql(put_off).await;
    }
}

fn outcome(results: &[JobResult]) -> JobOutcome {
    results[0].outcome
}

#[tokio::test]
async fn only_the_holder_of_the_lease_renews_completes_or_fails() {
    let stack = Stack::new().await;
    for verb in ["renew", "complete", "fail", "fail for good"] {
        for state in STATES {
            for own_token in [true, false] {
                let specimen = stack.specimen(state).await;
                let before = stack.row(&specimen).await;
                let mut held = specimen.held;
                if !own_token {
                    held.lease_token = Uuid::new_v4();
                }
                let queue = &stack.queue;
                let result = outcome(&match verb {
                    "renew" => queue.renew(&[held], Some(7200)).await.unwrap(),
                    "complete" => queue.complete(&[held]).await.unwrap(),
                    "fail" => queue.fail(&[failed(held, Some(3600), false)]).await.unwrap(),
                    _ => queue.fail(&[failed(held, None, true)]).await.unwrap(),
                });
                let case = format!("{verb} on {state}, own token: {own_token}");
                let legal = state == "leased" && own_token;
                if legal {
                    assert_eq!(result, JobOutcome::Ok, "{case}");
                    let after = match verb {
                        "renew" => "leased",
                        "complete" => "done",
                        "fail" => "ready",
                        _ => "dead",
                    };
                    assert_eq!(stack.job_state(specimen.message_id).await, after, "{case}");
                    assert_ne!(stack.row(&specimen).await, before, "{case}");
                } else {
                    assert_eq!(result, JobOutcome::LeaseLost, "{case}");
                    assert_eq!(stack.row(&specimen).await, before, "{case}");
                }
            }
        }
    }
    stack
        .sql(
            "UPDATE job_groups SET state = 'ready', lease_token = NULL, leased_by = NULL, lease_expires_at = NULL
               WHERE state = 'leased'",
        )
        .await;
    stack.end().await;
}

#[tokio::test]
async fn only_a_ready_job_whose_time_has_come_is_leased() {
    let stack = Stack::new().await;
    let mut specimens = Vec::new();
    for state in STATES {
        specimens.push((state, stack.specimen(state).await));
    }
    assert!(stack.lease(100).await.is_empty(), "a ready job that is put off must wait");
    stack.sql("UPDATE job_groups SET ready_at = now() WHERE state = 'ready'").await;
    let leased = stack.lease(100).await;
    assert_eq!(leased.len(), 1);
    assert_eq!(leased[0].message_id, specimens[0].1.message_id);
    for (state, specimen) in &specimens[1..] {
        assert_eq!(stack.job_state(specimen.message_id).await, *state);
    }
    let all = [Held { job_id: leased[0].job_id, lease_token: leased[0].lease_token }, specimens[1].1.held];
    let completed = stack.queue.complete(&all).await.unwrap();
    assert!(completed.iter().all(|result| result.outcome == JobOutcome::Ok));
    stack.end().await;
}

#[tokio::test]
async fn the_reaper_touches_expired_leases_only() {
    let stack = Stack::new().await;
    let mut specimens = Vec::new();
    for state in STATES {
        let specimen = stack.specimen(state).await;
        let before = stack.row(&specimen).await;
        specimens.push((specimen, before));
    }
    stack.reaper_has_passed().await;
    for (specimen, before) in &specimens {
        assert_eq!(stack.row(specimen).await, *before);
    }
    stack.queue.complete(&[specimens[1].0.held]).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn after_the_reaper_the_old_holder_has_lost_its_lease() {
    let stack = Stack::new().await;
    let specimen = stack.specimen("leased").await;
    stack.sql("UPDATE job_groups SET lease_expires_at = now() WHERE state = 'leased'").await;
    eventually(|| async { stack.job_state(specimen.message_id).await == "ready" }).await;
    let next = stack.lease(1).await.remove(0);
    // The same job is now somebody else's, and the old token fences nothing.
    assert_eq!(next.job_id, specimen.held.job_id);
    for results in [
        stack.queue.complete(&[specimen.held]).await,
        stack.queue.renew(&[specimen.held], None).await,
        stack.queue.fail(&[failed(specimen.held, None, true)]).await,
    ] {
        assert_eq!(outcome(&results.unwrap()), JobOutcome::LeaseLost);
    }
    let mine = Held { job_id: next.job_id, lease_token: next.lease_token };
    // Its own and somebody else's claim on one job in one list: each gets its own answer.
    let results = stack.queue.complete(&[specimen.held, mine, mine]).await.unwrap();
    let outcomes: Vec<_> = results.iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [JobOutcome::LeaseLost, JobOutcome::Ok, JobOutcome::Ok]);
    stack.end().await;
}

#[tokio::test]
async fn an_expired_lease_that_nobody_took_can_still_be_completed() {
    let stack = Stack::with(|config| config.reap_every = shared::config::Span::seconds(3600)).await;
    // The reaper looks once at its start; wait until it has, or it may take what expires below.
    stack.reaper_has_passed_or_sleeps().await;
    let specimen = stack.specimen("leased").await;
    stack.sql("UPDATE job_groups SET lease_expires_at = now() - interval '1 s' WHERE state = 'leased'").await;
    assert_eq!(outcome(&stack.queue.renew(&[specimen.held], None).await.unwrap()), JobOutcome::Ok);
    stack.sql("UPDATE job_groups SET lease_expires_at = now() - interval '1 s' WHERE state = 'leased'").await;
    assert_eq!(outcome(&stack.queue.complete(&[specimen.held]).await.unwrap()), JobOutcome::Ok);
    stack.end().await;
}

impl Stack {
    /// The reaper's first look is over: its statement shows in the statistics of its connection.
    async fn reaper_has_passed_or_sleeps(&self) {
        let reaped = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND state = 'idle' AND query LIKE '%queue.reap%'";
        eventually(|| async { self.value(reaped).await == "1" }).await;
    }
}

#[tokio::test]
async fn a_failed_job_backs_off_exponentially_within_the_queues_bounds() {
    let stack = Stack::new().await;
    stack
        .sql("UPDATE queues SET backoff_base_seconds = 10, backoff_max_seconds = 50, max_attempts = 5")
        .await;
    // A random half is taken off: attempt 1 waits 5 to 10 s, 2 waits 10 to 20, 3 waits 20 to 40, 4 at most 50.
    for (attempt, least, most) in [(1, 5, 10), (2, 10, 20), (3, 20, 40), (4, 25, 50)] {
        let specimen = stack.specimen("leased").await;
        let id = specimen.message_id;
        stack
            .sql(format!("UPDATE job_groups SET attempt = {attempt} WHERE '{id}' = ANY (message_ids)"))
            .await;
        stack.queue.fail(&[failed(specimen.held, None, false)]).await.unwrap();
        // `now()` of the check is later than that of the failure, so what is left is a little less.
        let within = format!(
            "SELECT ready_at - now() BETWEEN interval '{least} s' - interval '5 s' AND interval '{most} s'
             FROM jobs WHERE message_id = '{id}' AND state = 'ready'"
        );
        assert_eq!(stack.value(within).await, "true", "attempt {attempt}");
    }
    let last = stack.specimen("leased").await;
    stack
        .sql(format!("UPDATE job_groups SET attempt = 5 WHERE '{}' = ANY (message_ids)", last.message_id))
        .await;
    stack.queue.fail(&[failed(last.held, Some(0), false)]).await.unwrap();
    let reason = format!("SELECT dead_reason FROM jobs WHERE message_id = '{}'", last.message_id);
    assert_eq!(stack.value(reason).await, "attempts_exhausted");
    stack.end().await;
}

#[tokio::test]
async fn the_schema_refuses_states_that_cannot_be() {
    let stack = Stack::new().await;
    let specimens = [stack.specimen("done").await, stack.specimen("cancelled").await];
    for specimen in &specimens {
        let reopen = format!(
            "UPDATE job_groups SET state = 'ready', finished_at = NULL WHERE '{}' = ANY (message_ids)",
            specimen.message_id
        );
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(reopen)).execute(&stack.onlooker).await;
        assert!(refused.unwrap_err().to_string().contains("stays so"));
    }
    let ready = stack.specimen("ready").await.message_id;
    for impossible in [
        "state = 'leased'",
        "state = 'leased', lease_token = gen_random_uuid()",
        "state = 'dead', attempt = 1, finished_at = now()",
        "state = 'done', attempt = 1",
        "state = 'done', finished_at = now()",
        "lease_token = gen_random_uuid()",
        "finished_at = now()",
        "state = 'lost'",
        "forgiven = 1",
        "message_ids = '{}'",
        "message_ids = array_fill(gen_random_uuid(), ARRAY[101])",
        "message_ids = ARRAY[ARRAY[gen_random_uuid()]]",
    ] {
        let statement = format!("UPDATE job_groups SET {impossible} WHERE '{ready}' = ANY (message_ids)");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&stack.onlooker).await;
        assert!(refused.is_err(), "{impossible}");
    }
    stack.end().await;
}
