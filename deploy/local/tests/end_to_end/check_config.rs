//! `--check-config` of each process: what takes effect, or everything that is wrong with it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn check(process: &str, config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-local"));
    command.arg(process).arg("--config").arg(config).arg("--check-config").output().unwrap()
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

#[test]
fn the_reference_configurations_are_valid_and_shown_as_they_take_effect() {
    for (process, file, effective) in [
        ("proxy", "proxy.toml", "max_staleness"),
        ("main-server", "main_server.toml", "commit_messages"),
        ("worker", "worker.toml", "recent_ids"),
    ] {
        let output = check(process, &reference(file));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{process}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(shown.contains(effective), "{process}: {shown}");
    }
}

#[test]
fn a_password_in_the_database_url_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let files = "certificate = 'a'\nkey = 'b'\nservices_ca = 'c'\n";
    let url = "postgresql://somebody:opensesame@db/p?sslmode=verify-full";
    for (process, config) in [
        (
            "proxy",
            format!(
                "[tls]\n{files}clients_ca = 'd'\n[registry]\ndatabase_url = '{url}'\n\
                 [upstream]\nservers = ['https://main:8002']"
            ),
        ),
        ("main-server", format!("[tls]\n{files}[database]\nurl = '{url}'\n[keyring]\nfile = 'k'")),
    ] {
        let file = folder.path().join(process);
        fs::write(&file, config).unwrap();
        let output = check(process, &file);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(shown.contains("redacted") && !shown.contains("opensesame"), "{shown}");
    }
}

#[test]
fn every_fault_of_a_configuration_is_listed_and_the_exit_code_is_64() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = "[log]\nlevel = 'info,proxy=loud'\n[typing_error]\nx = 1\n";
    for (process, config, keys) in [
        (
            "proxy",
            "[registry]\ndatabase_url = 'postgres://a:opensesame@db/p'\npoll = '2m'\n[upstream]\nservers = []\n",
            ["registry.database_url", "registry.poll", "upstream.servers", "tls.clients_ca"],
        ),
        (
            "main-server",
            "[database]\nurl = 'postgres://a:opensesame@db/p'\nmax_connections = 1\n[queue]\nwriters = 0\n",
            ["database.url", "database.max_connections", "queue.writers", "keyring.file"],
        ),
        (
            "worker",
            "[server]\nurls = []\n[delivery]\nlease = '1s'\nbatch = 0\n",
            ["server.urls", "delivery.lease", "delivery.batch", "tls.ca"],
        ),
    ] {
        let file = folder.path().join(process);
        fs::write(&file, format!("{config}{faulty}")).unwrap();
        let output = check(process, &file);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{process}: {said}");
        for key in keys.into_iter().chain(["log.level", "typing_error"]) {
            assert!(said.contains(key), "{process}: {key} in {said}");
        }
        assert!(!said.contains("opensesame"), "{said}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    for process in ["proxy", "main-server", "worker"] {
        let output = check(process, Path::new("/nowhere/at-all.toml"));
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at-all.toml"));
    }
}
