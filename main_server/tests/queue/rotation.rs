//! Key rotation: what earlier keys sealed is sealed anew, and nobody is left without a key he needs.

mod command;
pub(crate) mod server;

use std::fs;

use sqlx::PgPool;
use uuid::Uuid;

use self::server::{Server, refused};
use crate::stack::{INSERTS_THAT_WAIT, eventually, held, message};

#[tokio::test]
async fn a_rotation_seals_messages_and_errors_anew_and_says_when_the_old_key_is_of_no_use() {
    let (mut server, _) = Server::new().await;
    // more than one step of the walk
    let sent: Vec<_> = (0..700).map(|number| message("client_001", &format!("text {number}"))).collect();
    server.store(&sent).await;
    let jobs = server.lease().await;
    let failed: Vec<_> =
        jobs.iter().map(|job| refused(job, &format!("error of {}", job.message_body))).collect();
    server.queue.fail(&failed).await.unwrap();
    assert_eq!(server.sealed_under("k1").await, "700 100");
    server.reseal("main-1");
    assert_eq!(server.rotate().await.as_str(), "k2");
    eventually(|| async { server.sealed_under("k1").await == "0 0" }).await;
    assert_eq!(server.sealed_under("k2").await, "700 100");
    eventually(|| async { server.metrics().contains("portcullis_sealed_under{key_id=\"k1\"} 0") }).await;
    assert!(server.metrics().contains("portcullis_resealed_total 800"), "{}", server.metrics());

    let mut texts = Vec::new();
    loop {
        let jobs = server.lease().await;
        if jobs.is_empty() {
            break;
        }
        texts.extend(jobs.iter().map(|job| (job.message_id, job.message_body.clone())));
        server.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    }
    texts.sort_unstable();
    let mut expected: Vec<_> = sent.iter().map(|one| (one.message_id, one.message_body.clone())).collect();
    expected.sort_unstable();
    assert_eq!(texts, expected);
    let errors: Vec<(Uuid, String, Vec<u8>)> =
        sqlx::query_as("SELECT message_id, error_key_id, error FROM job_attempts")
            .fetch_all(&server.onlooker)
            .await
            .unwrap();
    for (message_id, key_id, error) in errors {
        let text = server.keyring.open_error(message_id, &key_id, error).unwrap();
        assert!(text.starts_with("error of text "), "{text}");
    }
    server.end().await;
}

#[tokio::test]
async fn what_does_not_open_stays_and_is_counted_and_its_neighbours_are_sealed_anew() {
    let (mut server, _) = Server::new().await;
    let sent: Vec<_> = (0..4).map(|number| message("client_001", &number.to_string())).collect();
    server.store(&sent).await;
    let (lost, moved) = (sent[0].message_id, sent[1].message_id);
    server.sql(&format!("UPDATE messages SET key_id = 'k9' WHERE message_id = '{lost}'")).await;
    server.sql(&format!("UPDATE messages SET client_id = 'client_002' WHERE message_id = '{moved}'")).await;
    let before = server
        .value(&format!("SELECT encode(sealed, 'hex') FROM messages WHERE message_id = '{lost}'"))
        .await;
    server.reseal("main-1");
    server.rotate().await;
    eventually(|| async { server.metrics().contains("portcullis_sealed_under{key_id=\"k9\"} 1") }).await;
    assert!(server.metrics().contains("portcullis_sealed_under{key_id=\"k1\"} 1"), "{}", server.metrics());
    assert_eq!(server.sealed_under("k2").await, "2 0");
    let after = server
        .value(&format!("SELECT encode(sealed, 'hex') FROM messages WHERE message_id = '{lost}'"))
        .await;
    assert_eq!(before, after);
    server.end().await;
}

#[tokio::test]
async fn a_message_that_waits_while_the_key_changes_is_stored_under_the_new_one() {
    let (server, _) = Server::new().await;
    let mut lock = server.onlooker.begin().await.unwrap();
    sqlx::query("LOCK TABLE messages").execute(&mut *lock).await.unwrap();
    let (on_its_way, waiting) = (message("client_001", "on its way"), message("client_001", "waiting"));
    tokio::join!(server.store(std::slice::from_ref(&on_its_way)), async {
        eventually(|| async { server.value(INSERTS_THAT_WAIT).await == "1" }).await;
        // it comes to the writer, which is busy, before the key changes
        tokio::join!(server.store(std::slice::from_ref(&waiting)), async {
            server.rotate().await;
            lock.rollback().await.unwrap();
        });
    });
    let under = format!("SELECT key_id FROM messages WHERE message_id = '{}'", waiting.message_id);
    assert_eq!(server.value(&under).await, "k2");
    assert_eq!(server.sealed_under("k1").await, "1 0");
    let mut texts: Vec<_> = server.lease().await.into_iter().map(|job| job.message_body).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["on its way", "waiting"]);
    server.end().await;
}

#[tokio::test]
async fn a_server_that_has_not_read_the_new_ring_yet_loses_nothing() {
    let (mut ahead, url) = Server::new().await;
    let mut behind = Server::on(&url, Some(&ahead.file)).await;
    ahead.rotate().await;
    let (new, old) = (message("client_001", "under the new key"), message("client_001", "under the old key"));
    ahead.store(std::slice::from_ref(&new)).await;
    // A key it does not have: the job waits, and is not dead.
    assert!(behind.lease().await.is_empty());
    let state = format!("SELECT state FROM jobs WHERE message_id = '{}'", new.message_id);
    assert_eq!(ahead.value(&state).await, "ready");
    // What it writes meanwhile, the other one reads; and it does not seal anew what it does not understand.
    behind.store(std::slice::from_ref(&old)).await;
    ahead.reseal("main-1");
    behind.reseal("main-2");
    eventually(|| async {
        ahead.sealed_under("k2").await == "2 0" || ahead.sealed_under("k2").await == "2 1"
    })
    .await;
    let jobs = {
        fs::copy(&ahead.file, &behind.file).unwrap();
        eventually(|| async { behind.keyring.current().as_str() == "k2" }).await;
        ahead.sql("UPDATE job_groups SET ready_at = now()").await;
        behind.lease().await
    };
    let mut texts: Vec<_> = jobs.iter().map(|job| job.message_body.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["under the new key", "under the old key"]);
    behind.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    behind.end().await;
    ahead.end().await;
}

/// The functions of the schema, as a server calls them.
struct Walker<'a>(&'a PgPool, Uuid);

impl Walker<'_> {
    async fn take(&self, key: &str, keys: &[&str]) -> Option<Uuid> {
        sqlx::query_scalar("SELECT after FROM reseal_take($1, $2, $3, 60, 30)")
            .bind(self.1)
            .bind(key)
            .bind(keys)
            .fetch_optional(self.0)
            .await
            .unwrap()
    }

    async fn step(&self, after: Uuid, ended: bool, rows: &[(Uuid, &str, &[u8])]) -> bool {
        sqlx::query_scalar(
            "SELECT reseal_step($1, 30, $2, '{}', $3, $4, $5, $6, '{}', '{}', '{}', '{}', '{}')",
        )
        .bind(self.1)
        .bind(after)
        .bind(ended)
        .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
        .fetch_one(self.0)
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn one_server_walks_at_a_time_and_another_goes_on_where_it_stopped() {
    let (server, _) = Server::new().await;
    let (one, two) = (Walker(&server.pool, Uuid::new_v4()), Walker(&server.pool, Uuid::new_v4()));
    let (start, place) = (Uuid::nil(), Uuid::now_v7());
    assert_eq!(one.take("k2", &["k1", "k2"]).await, Some(start));
    assert_eq!(two.take("k2", &["k1", "k2"]).await, None, "somebody else walks");
    assert!(one.step(place, false, &[]).await);
    assert!(!two.step(start, false, &[]).await, "it is not its walk");
    server.sql("UPDATE reseal_walk SET walks_until = now() - interval '1 s'").await;
    assert!(!one.step(start, false, &[]).await, "its lease is over");
    assert_eq!(two.take("k1", &["k1"]).await, None, "its ring is behind");
    assert_eq!(two.take("k2", &["k1", "k2"]).await, Some(place), "it goes on");
    assert!(two.step(place, true, &[]).await);
    assert_eq!(one.take("k2", &["k1", "k2"]).await, None, "it was done a moment ago");
    assert_eq!(one.take("k3", &["k2", "k3"]).await, Some(start), "another key, another walk");
    server.end().await;
}

#[tokio::test]
async fn a_step_changes_only_what_was_read_under_the_key_it_names_and_keeps_its_length() {
    let (server, _) = Server::new().await;
    let sent = message("client_001", "hello");
    server.store(std::slice::from_ref(&sent)).await;
    let id = sent.message_id;
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM messages").fetch_one(&server.onlooker).await.unwrap();
    let rows = |key: &str| format!("SELECT count(*) FROM messages WHERE key_id = '{key}'");
    let walker = Walker(&server.pool, Uuid::new_v4());
    assert!(!walker.step(id, false, &[(id, "k1", &sealed)]).await, "nobody walks");
    walker.take("k2", &["k1", "k2"]).await.unwrap();
    assert!(walker.step(id, false, &[(id, "k0", &sealed)]).await);
    assert!(walker.step(id, false, &[(id, "k1", &sealed[1..])]).await);
    assert_eq!(server.value(&rows("k1")).await, "1");
    assert!(walker.step(id, false, &[(id, "k1", &sealed)]).await);
    assert_eq!(server.value(&rows("k2")).await, "1");
    server.end().await;
}
