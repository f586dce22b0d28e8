//! A backup, restored with the scripts of `deploy/backup`, as docs/deployment.md says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use local::{Stack, eventually};
use private_postgres::{ClusterOptions, SUPERUSER, psql};

use crate::support::{DEADLINE, Sender, options};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../backup").join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `psql --file SCRIPT URL`, with a file as its standard input.
fn psql_file(name: &str, url: &str, input: &Path) -> String {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--file"]).arg(script(name)).arg(url);
    run(psql.stdin(File::open(input).unwrap()))
}

/// The database as it was when it was dumped, and nothing since.
fn restore(stack: &Stack, dump: &Path) {
    let maintenance = stack.postgres().unwrap().url("postgres", SUPERUSER);
    psql(&maintenance, "DROP DATABASE portcullis WITH (FORCE)").unwrap();
    psql(&maintenance, "CREATE DATABASE portcullis").unwrap();
    let mut restore = Command::new("pg_restore");
    run(restore.arg("--exit-on-error").args(["--dbname", stack.owner_url()]).arg(dump));
}

#[test]
fn a_restored_backup_still_refuses_who_was_revoked_since() {
    let stack = Stack::start(options().own_cluster(ClusterOptions::throw_away())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (dump, csv) = (folder.path().join("dump"), folder.path().join("revocations.csv"));
    let (revoked, deleted, kept) = (Sender::new(&stack), Sender::new(&stack), Sender::new(&stack));
    run(Command::new("pg_dump").args(["--format", "custom", "--file"]).arg(&dump).arg(stack.owner_url()));

    for sender in [&revoked, &deleted] {
        let id = &sender.client.id;
        stack.sql(&format!("UPDATE clients SET status = 'revoked' WHERE client_id = '{id}'")).unwrap();
    }
    stack.sql(&format!("DELETE FROM clients WHERE client_id = '{}'", deleted.client.id)).unwrap();
    let known = || (revoked.get("/health").code() == "certificate_revoked").then_some(());
    assert!(eventually(DEADLINE, known).is_some());
    // what the operator's role may read is enough
    fs::write(&csv, psql_file("export-revocations.sql", &stack.database_url(), Path::new("/dev/null")))
        .unwrap();

    stack.processes().for_each(|process| process.stop().unwrap());
    restore(&stack, &dump);
    let admitted = "SELECT count(*) FROM client_registry WHERE status = 'active'";
    assert_eq!(psql(stack.owner_url(), admitted).unwrap().trim(), "3", "the backup has forgotten it");
    for _again in 0..2 {
        let said = psql_file("import-revocations.sql", stack.owner_url(), &csv);
        assert!(said.contains(" 2\n"), "{said}");
    }

    stack.processes().for_each(|process| process.spawn().unwrap());
    stack.processes().for_each(|process| process.wait_until_ready().unwrap());
    for sender in [&revoked, &deleted] {
        let answer = sender.get("/health");
        assert_eq!((answer.status, answer.code().as_str()), (403, "certificate_revoked"), "{answer:?}");
    }
    assert_eq!(kept.post_message("after the restore").status, 202);
}
