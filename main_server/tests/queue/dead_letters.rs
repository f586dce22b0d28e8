//! Dead letters are found, redriven with all their attempts, or discarded; each on record.

use shared::wire::submit::SubmittedMessage;

use crate::stack::{Stack, failed, held, message};

impl Stack {
    /// So many messages of a client's that a worker refused.
    async fn dead_letters_of(&self, client: &str, count: usize) -> Vec<SubmittedMessage> {
        let sent: Vec<_> = (0..count).map(|number| message(client, &number.to_string())).collect();
        self.store_all(&sent).await;
        let jobs = self.lease(100).await;
        assert_eq!(jobs.len(), count);
        let failures: Vec<_> = jobs.iter().map(|job| failed(held(job), None, true)).collect();
        self.queue.fail(&failures).await.unwrap();
        sent
    }

    /// A query's value, as the operator's role.
    async fn as_operator(&self, query: &str) -> String {
        let mut transaction = self.onlooker.begin().await.unwrap();
        sqlx::raw_sql("SET LOCAL ROLE portcullis_operator").execute(&mut *transaction).await.unwrap();
        let query = format!("SELECT coalesce(({query})::text, 'NULL')");
        let value =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        value
    }

    async fn states(&self) -> String {
        let counted = "SELECT state, count(*) AS jobs FROM jobs GROUP BY state";
        self.value(format!("SELECT string_agg(state || ' ' || jobs, ', ' ORDER BY state) FROM ({counted}) s"))
            .await
    }
}

#[tokio::test]
async fn dead_letters_are_listed_by_client_queue_reason_and_time_in_pages() {
    let stack = Stack::new().await;
    stack.dead_letters_of("client_001", 5).await;
    stack.dead_letters_of("client_002", 3).await;
    let count = |filter: &str| format!("SELECT count(*) FROM dead_letters({filter})");
    for (filter, expected) in [
        ("", "8"),
        ("p_client_id => 'client_002'", "3"),
        ("p_queue => 'default', p_reason => 'refused'", "8"),
        ("p_queue => 'other'", "0"),
        ("p_reason => 'lease_expired'", "0"),
        ("p_since => now() - interval '1 h', p_until => now()", "8"),
        ("p_until => now() - interval '1 h'", "0"),
        ("p_limit => 4", "4"),
    ] {
        assert_eq!(stack.as_operator(&count(filter)).await, expected, "{filter}");
    }
    let one = stack.value("SELECT message_id FROM messages WHERE client_id = 'client_001' LIMIT 1").await;
    assert_eq!(stack.as_operator(&count(&format!("p_message_id => '{one}'"))).await, "1");
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = "SELECT string_agg(message_id || ',' || died_at, ';' ORDER BY died_at, message_id)";
        let page = stack.as_operator(&format!("{page} FROM dead_letters(p_limit => 3{after})")).await;
        if page == "NULL" {
            break;
        }
        seen.extend(page.split(';').map(str::to_owned));
        let (id, at) = seen.last().unwrap().split_once(',').unwrap();
        after = format!(", p_after_at => '{at}', p_after_id => '{id}'");
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (8, 8));
    stack.end().await;
}

#[tokio::test]
async fn a_redriven_job_has_all_its_attempts_again_and_says_that_it_is_no_first_delivery() {
    let stack = Stack::new().await;
    stack.sql("UPDATE queues SET max_attempts = 2").await;
    let sent = stack.dead_letters_of("client_001", 2).await;
    let id = sent[0].message_id;
    assert_eq!(stack.as_operator(&format!("SELECT redrive('{id}')")).await, "1");
    assert_eq!(stack.as_operator(&format!("SELECT redrive('{id}')")).await, "0", "it is dead no more");
    assert_eq!(stack.states().await, "dead 1, ready 1");
    for (attempt, then) in [(2, "ready"), (3, "dead")] {
        let jobs = stack.lease(2).await;
        assert_eq!((jobs.len(), jobs[0].message_id, jobs[0].attempt), (1, id, attempt));
        stack.queue.fail(&[failed(held(&jobs[0]), Some(0), false)]).await.unwrap();
        assert_eq!(stack.job_state(id).await, then);
    }
    stack.every_job_is_in_one_group().await;
    stack.end().await;
}

#[tokio::test]
async fn all_dead_letters_that_match_are_redriven_and_no_others() {
    let stack = Stack::new().await;
    stack.dead_letters_of("client_001", 4).await;
    let mixed: Vec<_> = (0..6).map(|n| message(&format!("client_00{}", 1 + n % 2), "mixed")).collect();
    stack.store_all(&mixed).await;
    let jobs = stack.lease(6).await;
    let failures: Vec<_> = jobs.iter().map(|job| failed(held(job), None, true)).collect();
    stack.queue.fail(&failures).await.unwrap();
    let redrive = "SELECT redrive_matching(p_client_id => 'client_001')";
    assert_eq!(stack.as_operator(redrive).await, "7");
    assert_eq!(stack.states().await, "dead 3, ready 7");
    let others = "SELECT count(*) FROM dead_letters() WHERE client_id <> 'client_002'";
    assert_eq!(stack.as_operator(others).await, "0");
    assert_eq!(stack.as_operator("SELECT redrive_matching(p_limit => 2)").await, "2");
    stack.every_job_is_in_one_group().await;
    let audited = "SELECT string_agg(what || ' ' || (new ->> 'jobs'), ', ' ORDER BY id) FROM audit_log
                   WHERE what LIKE 'dead letters%'";
    assert_eq!(stack.value(audited).await, "dead letters redrive 7, dead letters redrive 2");
    let jobs = stack.lease(100).await;
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn a_redrive_at_a_rate_spreads_its_jobs_over_time() {
    let stack = Stack::new().await;
    stack.dead_letters_of("client_001", 10).await;
    assert_eq!(stack.as_operator("SELECT redrive_matching(p_per_second => 0.5)").await, "10");
    let times = "SELECT string_agg(round(extract(epoch FROM ready_at - first))::text, ' ' ORDER BY ready_at)
                 FROM jobs, (SELECT min(ready_at) AS first FROM jobs) f";
    assert_eq!(stack.value(times).await, "0 2 4 6 8 10 12 14 16 18");
    let now = "SELECT count(*) FROM jobs WHERE ready_at <= now()";
    assert_ne!(stack.value(now).await, "10");
    stack.every_job_is_in_one_group().await;
    stack.end().await;
}

#[tokio::test]
async fn a_discarded_dead_letter_is_cancelled_for_ever() {
    let stack = Stack::new().await;
    let sent = stack.dead_letters_of("client_001", 3).await;
    let id = sent[1].message_id;
    assert_eq!(stack.as_operator(&format!("SELECT discard('{id}')")).await, "1");
    assert_eq!(stack.states().await, "cancelled 1, dead 2");
    for verb in ["redrive", "discard"] {
        assert_eq!(stack.as_operator(&format!("SELECT {verb}('{id}')")).await, "0");
    }
    assert_eq!(stack.as_operator("SELECT discard_matching(p_by => 'alice')").await, "2");
    assert_eq!(stack.states().await, "cancelled 3");
    let by =
        "SELECT new ->> 'by' FROM audit_log WHERE what = 'dead letters discard' ORDER BY id DESC LIMIT 1";
    assert_eq!(stack.value(by).await, "alice");
    stack.end().await;
}

#[tokio::test]
async fn a_page_of_dead_letters_of_all_queues_does_not_read_them_all() {
    let stack = Stack::new().await;
    stack.dead_letters_of("client_001", 1).await;
    // 2000 more, each a group of its own
    stack
        .sql(
            "INSERT INTO messages (message_id, origin, client_id, cert_fingerprint, proxy, request_id, key_id, sealed,
                                   sender_index, payload_hash)
                 SELECT gen_random_uuid(), gen_random_uuid(), client_id, cert_fingerprint, proxy, request_id, key_id,
                        sealed, sender_index, payload_hash
                 FROM messages, generate_series(1, 2000);
             INSERT INTO job_groups (origin, queue, message_ids, state, attempt, dead_reason, finished_at)
                 SELECT origin, 'default', ARRAY[message_id], 'dead', 1, 'refused', now() - random() * interval '1 day'
                 FROM messages m WHERE NOT EXISTS (SELECT FROM job_groups g WHERE g.origin = m.origin);
             ANALYZE messages; ANALYZE job_groups",
        )
        .await;
    // the first time in a session it reads the catalogues, too
    let explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT FROM dead_letters(p_limit => 10)";
    let mut session = stack.onlooker.acquire().await.unwrap();
    let mut blocks = 0;
    for _ in 0..2 {
        let plan: serde_json::Value = sqlx::query_scalar(explain).fetch_one(&mut *session).await.unwrap();
        let plan = &plan[0]["Plan"];
        assert_eq!(plan["Actual Rows"].as_f64(), Some(10.0), "{plan:#}");
        blocks =
            ["Shared Hit Blocks", "Shared Read Blocks"].map(|kind| plan[kind].as_u64().unwrap()).iter().sum();
    }
    assert!(blocks < 500, "{blocks} blocks for 10 of 2001");
    drop(session);
    stack.end().await;
}
