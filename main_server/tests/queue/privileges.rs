//! What the roles may not do. (What the server's role may do, every other test shows.)

use std::borrow::Cow;

use crate::stack::{Stack, message};

impl Stack {
    /// The error code of a statement under a role.
    async fn refusal(&self, role: &str, statement: &str) -> Option<String> {
        let mut transaction = self.onlooker.begin().await.unwrap();
        let set_role = format!("SET LOCAL ROLE {role}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set_role)).execute(&mut *transaction).await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await;
        transaction.rollback().await.unwrap();
        done.err()?.as_database_error()?.code().map(Cow::into_owned)
    }
}

const INSUFFICIENT_PRIVILEGE: &str = "42501";

#[tokio::test]
async fn no_role_changes_or_deletes_a_message() {
    let stack = Stack::new().await;
    stack.store(&message("client_001", "hello")).await;
    for role in ["portcullis_server", "portcullis_operator", "portcullis_proxy"] {
        for statement in [
            "UPDATE messages SET client_id = 'client_002'",
            "DELETE FROM messages",
            "TRUNCATE messages",
            "DELETE FROM job_groups",
            "UPDATE job_groups SET state = 'ready'",
            "UPDATE job_groups SET message_ids = ARRAY[gen_random_uuid()]",
            "INSERT INTO job_groups (origin, queue, message_ids, attempt) VALUES (gen_random_uuid(), 'default', '{}', 7)",
            "DELETE FROM job_attempts",
            "UPDATE job_attempts SET attempt = 7",
            "DELETE FROM queues",
            // its jobs would be in no queue
            "UPDATE queues SET name = 'other'",
        ] {
            let refusal = stack.refusal(role, statement).await;
            assert_eq!(refusal.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{role}: {statement}");
        }
    }
    stack.end().await;
}

#[tokio::test]
async fn operators_see_the_state_and_set_the_rules_and_see_no_content() {
    let stack = Stack::new().await;
    stack.store(&message("client_001", "hello")).await;
    for statement in [
        "SELECT message_id, client_id, proxy, queued_at FROM messages",
        "SELECT state, count(*) FROM jobs GROUP BY state",
        "SELECT message_id, attempt, worker, outcome FROM job_attempts",
        "UPDATE queues SET paused = true WHERE name = 'default'",
        "INSERT INTO queues (name) VALUES ('bulk')",
    ] {
        assert_eq!(stack.refusal("portcullis_operator", statement).await, None, "{statement}");
    }
    for statement in [
        "SELECT sealed FROM messages",
        "SELECT payload_hash FROM messages",
        "SELECT lease_token FROM job_groups",
        "SELECT error FROM job_attempts",
        "UPDATE job_groups SET state = 'done'",
        "SELECT queue_complete('{}', '{}')",
    ] {
        let refusal = stack.refusal("portcullis_operator", statement).await;
        assert_eq!(refusal.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    let proxy = stack.refusal("portcullis_proxy", "SELECT message_id FROM messages").await;
    assert_eq!(proxy.as_deref(), Some(INSUFFICIENT_PRIVILEGE));
    stack.end().await;
}

#[tokio::test]
async fn nobody_moves_a_revocation_list_away_to_put_a_lower_number_in_its_place() {
    let stack = Stack::new().await;
    let insert = |number: &str| {
        format!(
            "INSERT INTO crls VALUES ('\\x01', '\\x02', '{number}', now(), now() + interval '1 day', '\\x03')"
        )
    };
    for statement in [
        "UPDATE crls SET issuer_key_id = '\\x00'",
        "UPDATE crls SET issuer_name = '\\x00'",
        "DELETE FROM crls",
        "TRUNCATE crls",
    ] {
        let refusal = stack.refusal("portcullis_operator", statement).await;
        assert_eq!(refusal.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    let publish = format!("{}; UPDATE crls SET crl_number = 8, der = '\\x04'", insert("7"));
    assert_eq!(stack.refusal("portcullis_operator", &publish).await, None);
    let lower = format!("{publish}; UPDATE crls SET crl_number = 7");
    // no number is above it, so that no list could ever follow
    for refused in [lower, insert("NaN")] {
        let refusal = stack.refusal("portcullis_operator", &refused).await;
        assert_eq!(refusal.as_deref(), Some("23514"), "{refused}");
    }
    stack.end().await;
}
