//! A database that is lost, comes back, is unsafe, or is not ours yet.

use main_server::{database, queue::Fault};
use private_postgres::{Cluster, ClusterOptions, SUPERUSER};
use shared::wire::{
    Code, Problem,
    submit::SubmitOutcome::{Queued, Replayed},
};

use crate::stack::{Stack, database_config, eventually, held, message, name, prepare};

fn cluster(options: ClusterOptions) -> Cluster {
    Cluster::start(options).unwrap()
}

#[tokio::test]
async fn a_lost_database_is_a_503_and_comes_back_without_a_restart_of_ours() {
    let cluster = cluster(ClusterOptions::throw_away());
    let stack = Stack::on_cluster(&cluster).await;
    let (before, during) = (message("client_001", "before"), message("client_001", "during"));
    stack.store(&before).await;
    cluster.stop_immediate().unwrap();
    let lost = stack.queue.submit(name("proxy-1"), vec![during.clone()], 1).await;
    let fault = lost.expect_err("nothing can be stored");
    assert!(matches!(fault, Fault::Unknown), "{fault}");
    assert_eq!(Problem::from(fault).code, Code::UpstreamUnavailable);
    let lease = stack.queue.lease(&name("default"), 1, None, &name("worker-1")).await;
    assert_eq!(Problem::from(lease.expect_err("nothing can be leased")).code, Code::UpstreamUnavailable);

    cluster.restart().unwrap();
    let both = vec![before.clone(), during.clone()];
    eventually(|| async { stack.queue.submit(name("proxy-1"), both.clone(), 1).await.is_ok() }).await;
    // What was acknowledged survived the crash, and what was sent again is there once.
    assert_eq!(stack.outcomes(&both).await, [Replayed, Replayed]);
    assert_eq!(stack.outcomes(&[message("client_001", "after")]).await, [Queued]);
    let jobs = stack.lease(10).await;
    assert_eq!(jobs.len(), 3);
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn a_cluster_that_could_lose_a_commit_is_refused_by_name() {
    for setting in ["fsync", "full_page_writes"] {
        let cluster = cluster(ClusterOptions::throw_away().setting(setting, "off"));
        let url = cluster.url("postgres", SUPERUSER);
        let refused = database::open(&database_config(&url)).await.expect_err("refused");
        assert!(refused.to_string().contains(&format!("{setting} = off")), "{refused:#}");
    }
}

#[tokio::test]
async fn a_cluster_that_becomes_unsafe_later_gets_no_more_connections() {
    let cluster = cluster(ClusterOptions::throw_away());
    let stack = Stack::on_cluster(&cluster).await;
    stack.store(&message("client_001", "before")).await;
    stack.sql("ALTER SYSTEM SET full_page_writes = off").await;
    cluster.stop_immediate().unwrap();
    cluster.restart().unwrap();
    eventually(|| async { sqlx::query("SELECT 1").execute(&stack.onlooker).await.is_ok() }).await;
    let refused = stack.queue.submit(name("proxy-1"), vec![message("client_001", "after")], 1).await;
    assert_eq!(Problem::from(refused.expect_err("refused")).code, Code::UpstreamUnavailable);
    assert_eq!(stack.value("SELECT count(*) FROM messages").await, "1");
    stack.end().await;
}

#[tokio::test]
async fn a_cluster_that_becomes_unsafe_by_a_reload_stores_nothing_on_open_connections_either() {
    let cluster = cluster(ClusterOptions::throw_away());
    let stack = Stack::on_cluster(&cluster).await;
    stack.store(&message("client_001", "before")).await;
    for setting in ["fsync", "full_page_writes"] {
        stack.sql(&format!("ALTER SYSTEM SET {setting} = off")).await;
        stack.sql("SELECT pg_reload_conf()").await;
        let off = || async { stack.value(&format!("current_setting('{setting}')")).await == "off" };
        eventually(off).await;
        // A connection learns of the reload between two statements of its own, so the first may still be stored.
        let refused = || async {
            let one = vec![message("client_001", "after")];
            matches!(stack.queue.submit(name("proxy-1"), one, 1).await, Err(Fault::Unknown))
        };
        eventually(refused).await;
        stack.sql(&format!("ALTER SYSTEM RESET {setting}")).await;
        stack.sql("SELECT pg_reload_conf()").await;
        let stored = || async {
            stack.queue.submit(name("proxy-1"), vec![message("client_001", "again")], 1).await.is_ok()
        };
        eventually(stored).await;
    }
    let jobs = stack.lease(1000).await;
    stack.queue.complete(&jobs.iter().map(held).collect::<Vec<_>>()).await.unwrap();
    stack.end().await;
}

#[tokio::test]
async fn every_connection_commits_synchronously_whatever_the_role_or_database_says() {
    let url = private_postgres::fresh_database(prepare).unwrap();
    let off = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";
    private_postgres::psql(&url, off).unwrap();
    let database = database::open(&database_config(&url)).await.unwrap();
    for pool in [database.queue, database.registry] {
        let setting: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&pool).await.unwrap();
        assert_eq!(setting, "on");
        pool.close().await;
    }
}

#[tokio::test]
async fn a_database_without_our_migrations_is_refused_with_the_command_to_run() {
    let cluster = cluster(ClusterOptions::throw_away());
    cluster.create_database("empty").unwrap();
    let url = cluster.url("empty", SUPERUSER);
    let refused = database::open(&database_config(&url)).await.expect_err("refused").to_string();
    assert!(refused.contains("0004 queue") && refused.contains("portcullis-server migrate"), "{refused}");
    main_server::migrate(&url).await.unwrap();
    main_server::migrate(&url).await.unwrap();
    database::open(&database_config(&url)).await.unwrap();
}
