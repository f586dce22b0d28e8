//! The database is away, for a while or for too long, or comes back with durability switched off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::time::Duration;

use local::{Answer, Stack, eventually};
use private_postgres::{Cluster, ClusterOptions, psql};

use crate::{
    support::{Sender, options},
    traffic::{Traffic, accepted, repeated, undelivered},
};

/// A restart of the database included.
const RECOVERY: Duration = Duration::from_mins(1);

fn own_cluster() -> ClusterOptions {
    ClusterOptions::throw_away()
}

fn wait_for(status: u16, post: impl Fn() -> Answer) -> Answer {
    let mut last = None;
    let answer = eventually(RECOVERY, || {
        let answer = post();
        if answer.status == status {
            return Some(answer);
        }
        last = Some(answer);
        None
    });
    answer.unwrap_or_else(|| panic!("no answer {status}, but {last:?}"))
}

fn recovers_from(break_it: impl Fn(&Cluster)) {
    let options = options().own_cluster(own_cluster()).worker_config("[delivery]\nlease = '3s'");
    let stack = Stack::start(options).unwrap();
    let pids: Vec<_> = stack.processes().map(local::Process::pid).collect();
    let traffic = Traffic::start(&stack, 3);
    traffic.wait_for(10, 202);
    let cluster = stack.postgres().unwrap();
    break_it(cluster);
    traffic.wait_for(3, 503);
    cluster.restart().unwrap();
    traffic.wait_for(10, 202);
    let answers = traffic.stop();
    for answer in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    assert!(undelivered(&stack, &accepted(&answers)).is_empty());
    assert!(repeated(&stack).is_empty());
    assert_eq!(stack.processes().map(local::Process::pid).collect::<Vec<_>>(), pids, "nothing was restarted");
    assert!(stack.processes().all(|process| process.ended().is_none()));
}

#[test]
fn a_stopped_postgres_is_a_503_and_nothing_accepted_is_lost() {
    recovers_from(|cluster| cluster.stop().unwrap());
}

#[test]
fn a_postgres_killed_with_9_loses_nothing_that_was_accepted() {
    recovers_from(|cluster| cluster.kill_postmaster().unwrap());
}

#[test]
fn a_registry_older_than_its_limit_admits_nobody_until_it_is_read_again() {
    let options = options().own_cluster(own_cluster()).processes(1, 1, 0);
    let stack =
        Stack::start(options.proxy_config("[registry]\nmax_staleness = '2s'\npoll = '200ms'")).unwrap();
    let senders = [Sender::new(&stack), Sender::new(&stack)];
    stack.postgres().unwrap().stop().unwrap();
    wait_for(503, || senders[0].get("/api/v1/whoami"));
    for sender in &senders {
        for answer in [sender.get("/api/v1/whoami"), sender.get("/health"), sender.post_message("no")] {
            assert_eq!((answer.status, answer.code().as_str()), (503, "registry_stale"), "{answer:?}");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
    }
    assert_eq!(stack.proxies[0].process.get("/readyz").unwrap().0, 503);
    stack.postgres().unwrap().restart().unwrap();
    for sender in &senders {
        wait_for(202, || sender.post_message("yes"));
    }
    stack.proxies[0].process.wait_until_ready().unwrap();
}

#[test]
fn a_main_server_does_not_start_on_a_cluster_that_may_lose_commits() {
    for setting in ["fsync", "full_page_writes"] {
        let cluster = own_cluster().setting(setting, "off");
        let refused =
            Stack::start(options().own_cluster(cluster).processes(0, 1, 0)).unwrap_err().to_string();
        assert!(refused.contains("main-server-1 ended (exit status: 1)"), "{refused}");
        assert!(refused.contains(&format!("{setting} = off")), "{refused}");
        assert!(refused.contains(&format!("set {setting} = on")), "{refused}");
    }
}

#[test]
fn a_cluster_that_comes_back_without_fsync_gets_no_messages_until_it_is_on_again() {
    let options = options().own_cluster(own_cluster());
    let stack = Stack::start(options.proxy_config("[upstream]\nretry_for = '1s'")).unwrap();
    let sender = Sender::new(&stack);
    let before = sender.post_message("before");
    assert_eq!(before.status, 202);
    let cluster = stack.postgres().unwrap();
    psql(stack.owner_url(), "ALTER SYSTEM SET fsync = off").unwrap();
    cluster.stop().unwrap();
    cluster.restart().unwrap();
    for _ in 0..3 {
        let answer = sender.post_message("meanwhile");
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer:?}");
    }
    let stored = psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap();
    assert_eq!(stored.trim(), "1");
    let log = std::fs::read_to_string(&stack.main_servers[0].process.log).unwrap();
    assert!(log.contains("fsync = off"), "{log}");
    psql(stack.owner_url(), "ALTER SYSTEM RESET fsync").unwrap();
    psql(stack.owner_url(), "SELECT pg_reload_conf()").unwrap();
    let after = wait_for(202, || sender.post_message("after"));
    assert!(undelivered(&stack, &accepted(&[before, after])).is_empty());
}
