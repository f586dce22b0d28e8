//! Encryption at rest: nothing readable in a row, and nothing that opens in another one's place.

use shared::wire::fail::FailedJob;
use uuid::Uuid;

use crate::stack::{Stack, held, message};

#[tokio::test]
async fn no_row_shows_a_body_a_number_or_a_sinks_error() {
    let stack = Stack::new().await;
    let mut sent = message("client_001", "a rather secret body");
    sent.metadata = Some(serde_json::from_str(r#"{"tag":"secret tag"}"#).unwrap());
    stack.store(&sent).await;
    let job = stack.lease(1).await.remove(0);
    let failed = FailedJob {
        job_id: job.job_id,
        lease_token: job.lease_token,
        error: "sink refused: a rather secret body".to_owned(),
        delay_seconds: None,
        dead: true,
        released: false,
    };
    stack.queue.fail(&[failed]).await.unwrap();
    let rows = stack
        .value("SELECT string_agg(m::text || j::text || a::text, '') FROM messages m, jobs j, job_attempts a")
        .await;
    for secret in ["secret", "+1234567890", "1234567890"] {
        let hex = format!("{:02x?}", secret.as_bytes()).replace([',', ' ', '[', ']'], "");
        assert!(!rows.contains(secret) && !rows.contains(&hex), "{secret} in {rows}");
    }
    assert!(rows.contains("client_001"), "what audit needs is in the clear");
    let (key_id, error): (String, Vec<u8>) = sqlx::query_as("SELECT error_key_id, error FROM job_attempts")
        .fetch_one(&stack.onlooker)
        .await
        .unwrap();
    let opened = stack.keyring.open_error(job.job_id, &key_id, error).unwrap();
    assert_eq!(opened, "sink refused: a rather secret body");
    stack.end().await;
}

#[tokio::test]
async fn a_message_moved_to_another_client_is_dead_and_its_neighbours_are_delivered() {
    let stack = Stack::new().await;
    let batch: Vec<_> = (0..3).map(|number| message("client_001", &number.to_string())).collect();
    stack.store_all(&batch).await;
    let moved = batch[1].message_id;
    stack.sql(format!("UPDATE messages SET client_id = 'client_002' WHERE message_id = '{moved}'")).await;
    let jobs = stack.lease(3).await;
    let delivered: Vec<Uuid> = jobs.iter().map(|job| job.message_id).collect();
    assert_eq!(delivered, [batch[0].message_id, batch[2].message_id]);
    let row = format!("SELECT state || ' ' || dead_reason FROM jobs WHERE message_id = '{moved}'");
    assert_eq!(stack.value(row).await, "dead unreadable");
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn a_message_whose_key_is_lost_waits_for_it_and_its_neighbours_are_delivered() {
    let stack = Stack::new().await;
    let batch: Vec<_> = (0..3).map(|number| message("client_001", &number.to_string())).collect();
    stack.store_all(&batch).await;
    let lost = batch[0].message_id;
    stack.sql(format!("UPDATE messages SET key_id = 'k9' WHERE message_id = '{lost}'")).await;
    let jobs = stack.lease(3).await;
    assert_eq!(jobs.len(), 2);
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(stack.job_state(lost).await, "ready");
    let (job_id, key_id, error): (Uuid, String, Vec<u8>) =
        sqlx::query_as("SELECT message_id, error_key_id, error FROM job_attempts WHERE message_id = $1")
            .bind(lost)
            .fetch_one(&stack.onlooker)
            .await
            .unwrap();
    let error = stack.keyring.open_error(job_id, &key_id, error).unwrap();
    assert!(error.contains("\"k9\"") && error.contains("not in the key ring"), "{error}");
    // The key comes back.
    let back = format!(
        "UPDATE messages SET key_id = 'k1' WHERE message_id = '{lost}';
                        UPDATE job_groups SET ready_at = now() WHERE '{lost}' = ANY (message_ids)"
    );
    stack.sql(back).await;
    let jobs = stack.lease(3).await;
    assert_eq!((jobs.len(), jobs[0].attempt), (1, 2));
    stack.queue.complete(&[held(&jobs[0])]).await.unwrap();
    stack.end().await;
}
