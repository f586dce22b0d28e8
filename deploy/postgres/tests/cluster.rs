//! Clusters seen from outside: what survives, what goes, and that nothing is left behind.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use private_postgres::{Cluster, ClusterOptions, Error, SUPERUSER, fresh_database, psql, shared};

#[expect(clippy::unwrap_used, reason = "a test's own step")]
fn number_table(url: &str) {
    psql(url, "CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (7)").unwrap();
}

#[test]
fn a_dropped_throw_away_cluster_leaves_no_process_and_no_file() {
    let cluster = Cluster::start(ClusterOptions::throw_away()).unwrap();
    let (pid, data) = (cluster.pid().unwrap(), cluster.data().to_owned());
    drop(cluster);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!data.exists() && !data.parent().unwrap().exists());
}

#[test]
fn kept_data_is_found_again_even_where_the_server_cannot_enter_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    // ours alone: out of the server's reach when we are root
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let first = Cluster::start(ClusterOptions::kept_in(folder.path().join("postgres"))).unwrap();
    first.create_database("kept").unwrap();
    number_table(&first.url("kept", SUPERUSER));
    drop(first);

    let second = Cluster::start(ClusterOptions::kept_in(folder.path().join("postgres"))).unwrap();
    assert_eq!(psql(&second.url("kept", SUPERUSER), "SELECT n FROM numbers").unwrap().trim(), "7");
    assert!(second.log().starts_with(std::fs::canonicalize(folder.path()).unwrap()));
    let data = second.data().to_owned();
    drop(second);
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn committed_rows_survive_an_immediate_stop_and_a_killed_postmaster() {
    let cluster = Cluster::start(ClusterOptions::throw_away()).unwrap();
    let url = cluster.url("postgres", SUPERUSER);
    number_table(&url);
    cluster.stop_immediate().unwrap();
    assert_eq!(cluster.pid(), None);
    cluster.restart().unwrap();
    psql(&url, "INSERT INTO numbers VALUES (8)").unwrap();
    cluster.kill_postmaster().unwrap();
    cluster.restart().unwrap();
    assert_eq!(psql(&url, "SELECT sum(n) FROM numbers").unwrap().trim(), "15");
}

#[test]
fn an_owner_killed_with_9_takes_its_cluster_along() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_with-postgres"))
        .args([
            "sh",
            "-c",
            "echo $DATABASE_URL; exec psql -X -d $DATABASE_URL -c 'SELECT pg_sleep(3600)' 2>&1",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    assert_eq!(psql(&url, "SELECT 1").unwrap().trim(), "1");
    owner.kill().unwrap();
    owner.wait().unwrap();
    // the session inside ends when, and only when, the guardian stops the server
    let farewell: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(farewell.iter().any(|line| line.contains("connection")), "{farewell:?}");
    assert!(matches!(psql(&url, "SELECT 1"), Err(Error::Failed { .. })));
}

#[test]
fn a_command_run_beside_a_cluster_finds_it_migrated_and_gives_its_exit_code() {
    let status = Command::new(env!("CARGO_BIN_EXE_with-postgres"))
        .args([
            "sh",
            "-c",
            "psql -X -q -d $DATABASE_URL -c 'SELECT client_id FROM clients' >/dev/null && exit 42",
        ])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(42));
}

#[test]
fn nothing_listens_on_tcp_and_fsync_is_on_unless_it_is_set_off() {
    let on = psql(&shared().unwrap().url("postgres", SUPERUSER), "SHOW fsync; SHOW listen_addresses");
    assert_eq!(on.unwrap(), "on\n\n");
    let off = Cluster::start(ClusterOptions::throw_away().setting("fsync", "off")).unwrap();
    assert_eq!(psql(&off.url("postgres", SUPERUSER), "SHOW fsync").unwrap().trim(), "off");
}

#[test]
fn a_setting_that_postgres_refuses_is_reported_with_its_log() {
    let error = Cluster::start(ClusterOptions::throw_away().setting("no_such_setting", "1")).unwrap_err();
    assert!(error.to_string().contains("unrecognized configuration parameter"), "{error}");
}

#[test]
fn each_test_has_a_prepared_database_of_its_own() {
    let prepare = |url: &str| psql(url, "CREATE TABLE prepared (n int)").map(drop).map_err(Into::into);
    let (one, other) = (fresh_database(prepare).unwrap(), fresh_database(prepare).unwrap());
    psql(&one, "INSERT INTO prepared VALUES (1)").unwrap();
    assert_eq!(psql(&other, "SELECT count(*) FROM prepared").unwrap().trim(), "0");
}

#[test]
fn a_database_name_that_would_need_quoting_is_refused() {
    let cluster = shared().unwrap();
    for name in ["", "1a", "A", "a b", "a;drop", &"a".repeat(64)] {
        assert!(matches!(cluster.create_database(name), Err(Error::DatabaseName(_))), "{name:?}");
    }
}
