//! The disk under Postgres is full for a while: a small file system in memory, in a mount namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use local::{Answer, Stack, eventually};
use private_postgres::ClusterOptions;

use crate::{
    support::{Sender, options},
    traffic::{accepted, undelivered},
};

/// A restart of the database included.
const RECOVERY: Duration = Duration::from_mins(2);
/// Set for the process that has the mount namespace.
const INSIDE: &str = "DISK_FULL_HAS_ITS_OWN_MOUNTS";

#[test]
fn a_full_disk_under_postgres_is_a_503_and_what_was_accepted_is_delivered_when_there_is_room_again() {
    #[expect(
        clippy::disallowed_methods,
        reason = "no configuration: the test tells itself apart from its child"
    )]
    let inside = std::env::var_os(INSIDE).is_some();
    if inside {
        return fill_the_disk();
    }
    // The mount goes with the process that made it, however that ends.
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    if !unshare.arg("true").output().is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: mounting a small file system needs root");
        return;
    }
    let name = "faults::disk_full::\
                a_full_disk_under_postgres_is_a_503_and_what_was_accepted_is_delivered_when_there_is_room_again";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

fn fill_the_disk() {
    // where the server's own user gets through to it
    let everybody = fs::Permissions::from_mode(0o755);
    let small = tempfile::Builder::new().permissions(everybody).tempdir_in("/tmp").unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=192m,mode=0755", "tmpfs"])
        .arg(small.path())
        .output()
        .unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
    let folder = tempfile::tempdir().unwrap();
    let cluster = ClusterOptions::kept_in(small.path().join("postgres"))
        .setting("max_wal_size", "48MB")
        .setting("min_wal_size", "32MB");
    let options = options().own_cluster(cluster).kept_in(folder.path().join("stack"));
    let stack = Stack::start(options.proxy_config("[upstream]\nretry_for = '2s'")).unwrap();
    let sender = Sender::new(&stack);
    let mut answers = vec![post(&sender)];
    assert_eq!(answers[0].status, 202, "{answers:?}");

    let ballast = small.path().join("ballast");
    fill(&ballast);
    post_until(&sender, &mut answers, 503);
    let refused = answers.last().unwrap();
    assert_eq!(refused.code(), "upstream_unavailable", "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    fs::remove_file(&ballast).unwrap();
    // A server that could not write its log ended itself, and may not have come back: an operator starts it.
    let cluster = stack.postgres().unwrap();
    if !cluster.is_running() {
        cluster.stop().unwrap();
        cluster.restart().unwrap();
    }
    post_until(&sender, &mut answers, 202);
    assert!(answers.iter().all(|answer| matches!(answer.status, 202 | 503)), "{answers:?}");
    assert!(undelivered(&stack, &accepted(&answers)).is_empty());
}

fn post(sender: &Sender) -> Answer {
    sender.post_message(&"x".repeat(1000))
}

fn post_until(sender: &Sender, answers: &mut Vec<Answer>, status: u16) {
    let came = eventually(RECOVERY, || {
        answers.push(post(sender));
        (answers.last().unwrap().status == status).then_some(())
    });
    assert!(came.is_some(), "no answer {status}: {:?}", answers.last());
}

/// Writes until there is no room for a single page more.
fn fill(file: &Path) {
    let mut file = File::create(file).unwrap();
    for size in [1 << 20, 4096] {
        let zeros = vec![0; size];
        while file.write_all(&zeros).is_ok() {}
    }
}
