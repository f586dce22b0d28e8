//! Killed at any moment, failed at any step, or run twice at once: the folder is as it was or as it will be.
//!
//! Killing is real: `timeout -s KILL` after more and more of the time that the whole command takes, and a limit on the
//! size of files, which kills in the middle of writing one. What the next command finds is judged, not how far this one
//! came.

#![expect(clippy::unwrap_used, reason = "a test whose tools are missing cannot go on")]

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use certs::{
    Authority, Ca, Revoked, RevokedReason,
    folder::{Index, Writing},
};
use private_postgres::psql;
use time::OffsetDateTime;

use crate::{
    registration::database,
    support::{Pki, answer, command_line, openssl},
};

/// In how many steps a command is killed.
const STEPS: u32 = 14;

/// `portcullis-certs` on this folder, to be wrapped by another program.
fn wrapped(pki: &Pki, program: &str, before: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(before)
        .arg(env!("CARGO_BIN_EXE_portcullis-certs"))
        .arg("--dir")
        .arg(pki.dir())
        .args(arguments);
    command.env_remove("DATABASE_URL").env_remove("PORTCULLIS_CA_PASSPHRASE");
    command
}

/// How long the command takes when nobody kills it.
fn duration(pki: &Pki, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    let done = pki.run(arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    began.elapsed()
}

/// Kills the command after each part of `whole`, and a bit beyond; judges after each.
fn kill_at_every_step(
    pki: &Pki,
    whole: Duration,
    arguments: impl Fn(u32) -> Vec<String>,
    judge: impl Fn(u32),
) {
    for step in 0..=STEPS {
        let after = (whole * step / (STEPS - 3)).as_secs_f64().max(0.001);
        let arguments = arguments(step);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let before = ["-s", "KILL", &format!("{after:.4}")];
        // killed, done, or refused because an earlier one was done: all the same
        answer(wrapped(pki, "timeout", &before, &arguments));
        judge(step);
    }
}

fn is_whole_name(path: &Path) -> bool {
    !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
}

/// Everything that is in its place is whole, belongs together, and is known to the index.
fn assert_whole(pki: &Pki) {
    let authority = pki.authority();
    for ca in Ca::ALL {
        authority.crl(ca).verify(authority.issuer(ca).facts()).unwrap();
    }
    let index = Index::read(&pki.dir(), &authority).unwrap();
    let dir = pki.dir();
    let mut folders = HashSet::new();
    for (path, contents) in pki.contents() {
        let name = path.strip_prefix(&dir).unwrap();
        if !is_whole_name(name) || contents.is_empty() {
            assert!(name.ends_with(".lock") || !is_whole_name(name), "{} is empty", name.display());
            continue;
        }
        if name.starts_with("clients") || name.starts_with("backup") {
            folders.insert(path.parent().unwrap().to_owned());
        }
    }
    for folder in folders {
        let certificates = |path: &PathBuf| {
            path.extension().is_some_and(|ending| ending == "crt") && !path.ends_with("ca.crt")
        };
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        let certificate = files.iter().find(|path| certificates(path)).unwrap_or_else(|| panic!("{files:?}"));
        assert!(files.len() == 4 || files.len() == 7, "{files:?}");
        let certificate = certificate.to_str().unwrap();
        let key = certificate.replace(".crt", ".key");
        let public = openssl(&["x509", "-in", certificate, "-noout", "-pubkey"]).out;
        assert_eq!(openssl(&["pkey", "-in", &key, "-pubout"]).out, public, "{certificate}");
        let serial = openssl(&["x509", "-in", certificate, "-noout", "-serial"]).out;
        assert!(index.by_serial(&serial).is_some(), "{certificate} is not in the index");
        assert!(
            fs::exists(pki.at(&format!("issued/{}.crt", serial.trim().trim_start_matches("serial="))))
                .unwrap()
        );
    }
    if let Ok(log) = fs::read_to_string(pki.at("crl/revocation_log.txt")) {
        assert!(log.ends_with("\"\n") && log.lines().all(|line| line.contains(" comment=")), "{log}");
    }
}

/// What an interrupted writer left is gone once another one has been at work.
fn assert_swept(pki: &Pki) {
    drop(Writing::begin(&pki.dir()).unwrap());
    let left: Vec<_> = pki.contents().into_iter().map(|(path, _)| path).collect();
    let left: Vec<_> = left
        .iter()
        .map(|path| path.strip_prefix(pki.dir()).unwrap())
        .filter(|name| !is_whole_name(name))
        .collect();
    assert_eq!(left, [Path::new(".lock")]);
}

#[test]
fn issue_killed_at_any_moment_leaves_a_whole_certificate_or_none() {
    let pki = Pki::create();
    let whole = duration(&pki, &["issue", "client", "first"]);
    let issue = |step| ["issue", "client", &format!("c{step}")].map(str::to_owned).to_vec();
    kill_at_every_step(&pki, whole, issue, |_| assert_whole(&pki));
    assert_swept(&pki);
    // what was not done can be done now
    for step in 0..=STEPS {
        let again = pki.run(&["issue", "client", &format!("c{step}")]);
        let there = again.error.contains("this name has a certificate already");
        assert!(again.code == Some(0) || there, "{again:?}");
    }
    assert_whole(&pki);
}

#[test]
fn renew_killed_at_any_moment_leaves_the_old_certificate_or_the_new_one_whole() {
    let pki = Pki::create();
    assert_eq!(pki.run(&["issue", "client", "c1"]).code, Some(0));
    let whole = duration(&pki, &["renew", "c1"]);
    let folder = PathBuf::from(pki.at("clients/c1"));
    kill_at_every_step(
        &pki,
        whole,
        |_| vec!["renew".to_owned(), "c1".to_owned()],
        |_| {
            assert_whole(&pki);
            if !folder.exists() {
                // between the two moves: the old folder is the latest backup, and is moved back as the message says
                let told = pki.run(&["renew", "c1"]);
                assert!(told.code == Some(1) && told.error.contains("move them back"), "{told:?}");
                let backups = fs::read_dir(pki.at("backup/clients/c1")).unwrap();
                let latest = backups.map(|entry| entry.unwrap().path()).max().unwrap();
                fs::rename(latest, &folder).unwrap();
            }
            assert_eq!(pki.run(&["verify", "c1"]).code, Some(0));
        },
    );
    assert_swept(&pki);
}

#[test]
fn revoke_killed_at_any_moment_leaves_the_old_list_or_the_new_one() {
    let (pki, database) = (Pki::create(), database());
    let with = ["--database-url", database.as_str()];
    for client in 0..=STEPS {
        let issued = pki.run(&[&["issue", "client", &format!("c{client}")], &with[..]].concat());
        assert_eq!(issued.code, Some(0), "{issued:?}");
    }
    assert_eq!(pki.run(&[&["issue", "client", "first"], &with[..]].concat()).code, Some(0));
    let whole = duration(&pki, &[&["revoke", "first"], &with[..]].concat());
    let revoke =
        |step| ["revoke", &format!("c{step}"), "--database-url", &database].map(str::to_owned).to_vec();
    let on_list = || pki.authority().crl(Ca::Clients).revoked().unwrap().len();
    let in_database = || -> usize {
        psql(&database, "SELECT count(*) FROM clients WHERE status = 'revoked'")
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    kill_at_every_step(&pki, whole, revoke, |_| {
        assert_whole(&pki);
        // the list in the file is at most what is in force; one commit may not have reached its file yet
        assert!(on_list() <= in_database(), "{} {}", on_list(), in_database());
    });
    assert_swept(&pki);
    // the next signing brings what was in force into the file, and repeating does what was not done
    assert_eq!(pki.run(&[&["crl", "--refresh"], &with[..]].concat()).code, Some(0));
    assert_eq!(on_list(), in_database());
    for client in 0..=STEPS {
        let again = pki.run(&[&["revoke", &format!("c{client}")], &with[..]].concat());
        assert!(again.code == Some(0) || again.error.contains("was revoked before"), "{again:?}");
    }
    // `first`, and one for each step
    let all = usize::try_from(STEPS).unwrap() + 2;
    assert_eq!((on_list(), in_database()), (all, all));
}

#[test]
fn init_ca_killed_at_any_moment_leaves_a_whole_ca_or_one_that_is_not_used() {
    let pki = Pki::nowhere();
    let whole = duration(&pki, &["init-ca", "--no-passphrase"]);
    for step in 0..=STEPS {
        fs::remove_dir_all(pki.dir()).unwrap();
        let after = (whole * step / (STEPS - 3)).as_secs_f64().max(0.001);
        let before = ["-s", "KILL", &format!("{after:.4}")];
        answer(wrapped(&pki, "timeout", &before, &["init-ca", "--no-passphrase"]));
        fs::create_dir_all(pki.dir()).unwrap();
        if Authority::load(&pki.dir()).is_ok() {
            assert_whole(&pki);
            assert_eq!(pki.run(&["issue", "client", "c1"]).code, Some(0));
        } else {
            let issued = pki.run(&["issue", "client", "c1"]);
            assert!(issued.error.contains("holds no certificate authority"), "{issued:?}");
            let again = pki.run(&["init-ca", "--no-passphrase"]);
            assert!(again.code == Some(0) || again.error.contains("is in the way"), "{again:?}");
        }
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_file_changes_nothing() {
    let pki = Pki::create();
    pki.issue_client("c1");
    // a list that takes many blocks
    let authority = pki.authority();
    let entry = |number: u32| Revoked {
        serial: [&[0x41; 16][..], &number.to_be_bytes()].concat(),
        revoked_at: OffsetDateTime::now_utc(),
        reason: RevokedReason::Superseded,
    };
    let list = authority.clients().sign_next_crl(authority.crl(Ca::Clients), (0..400).map(entry)).unwrap();
    fs::write(pki.at("crl/revoked.pem"), list.pem()).unwrap();
    let whole = |pki: &Pki| {
        let names = |(path, contents): (PathBuf, Vec<u8>)| {
            is_whole_name(path.strip_prefix(pki.dir()).unwrap()).then_some((path, contents))
        };
        pki.contents().into_iter().filter_map(names).collect::<Vec<_>>()
    };
    let before = whole(&pki);
    let bash = |limit: u32, signal: &str| {
        let script = format!("trap '{signal}' XFSZ; ulimit -f {limit}; exec \"$@\"");
        answer(wrapped(&pki, "bash", &["-c", &script, "bash"], &["revoke", "c1"]))
    };
    for blocks in (1..20).step_by(3) {
        // killed by the limit, and refused by it
        for ignored in [false, true] {
            let failed = if ignored { bash(blocks, "") } else { bash(blocks, "-") };
            assert_ne!(failed.code, Some(0), "{blocks}: {failed:?}");
            assert_eq!(whole(&pki), before, "{blocks}");
        }
    }
    assert_eq!(pki.run(&["revoke", "c1"]).code, Some(0));
    assert_eq!(pki.authority().crl(Ca::Clients).revoked().unwrap().len(), 401);
    assert_swept(&pki);
}

#[test]
fn a_step_that_fails_undoes_those_before_it() {
    let database = database();
    let with = ["--database-url", database.as_str()];
    // what stands in the way of each step of issuing and renewing: a file where a folder belongs
    for (obstacle, verb) in [
        ("clients", &["issue", "client", "c2"][..]),
        ("issued", &["issue", "client", "c2"]),
        ("issued", &["renew", "c1"]),
        ("backup", &["renew", "c1"]),
    ] {
        let pki = Pki::create();
        assert_eq!(pki.run(&["issue", "client", "c1"]).code, Some(0));
        psql(&database, "DELETE FROM clients; DELETE FROM crls").unwrap();
        let insert = pki.run(&["issue", "client", "c1"]).error;
        psql(&database, &insert[insert.find("INSERT").unwrap()..]).unwrap();
        let place = PathBuf::from(pki.at(obstacle));
        let aside = pki.dir().parent().unwrap().join("aside");
        if place.exists() {
            fs::rename(&place, &aside).unwrap();
        }
        fs::write(&place, "in the way").unwrap();
        let (files, rows) = (pki.contents(), psql(&database, "TABLE clients").unwrap());
        let failed = pki.run(&[verb, &with[..]].concat());
        assert_eq!(failed.code, Some(1), "{obstacle}: {failed:?}");
        assert_eq!(pki.contents(), files, "{obstacle}");
        assert_eq!(psql(&database, "TABLE clients").unwrap(), rows, "{obstacle}");
        fs::remove_file(&place).unwrap();
        if aside.exists() {
            fs::rename(&aside, &place).unwrap();
        }
    }
}

#[test]
fn many_at_once_get_certificates_with_different_serials_and_lists_with_everybody() {
    let pki = Pki::create();
    let at_once = |verb: &[&str]| {
        thread::scope(|scope| {
            for client in 0..8 {
                let pki = &pki;
                scope.spawn(move || {
                    let done = pki.run(&[verb, &[&format!("c{client}")]].concat());
                    assert_eq!(done.code, Some(0), "{done:?}");
                });
            }
        });
    };
    at_once(&["issue", "client"]);
    assert_whole(&pki);
    assert_eq!(fs::read_dir(pki.at("issued")).unwrap().count(), 8);
    at_once(&["revoke"]);
    let list = pki.authority();
    assert_eq!(list.crl(Ca::Clients).revoked().unwrap().len(), 8);
    assert_eq!(list.crl(Ca::Clients).number, 9, "each signed the next one");
    assert_eq!(fs::read_to_string(pki.at("crl/revocation_log.txt")).unwrap().lines().count(), 8);
}

#[test]
fn readers_wait_for_nobody() {
    let pki = Pki::create();
    pki.issue_client("c1");
    let _writing = Writing::begin(&pki.dir()).unwrap();
    for verb in [&["list"][..], &["verify", "c1"], &["crl"], &["expiring"]] {
        let mut command = command_line();
        command.arg("--dir").arg(pki.dir()).args(verb);
        assert_eq!(answer(command).code, Some(0), "{verb:?}");
    }
}
