//! `portcullis-local up` as an actor: started on a state folder, asked to stop, killed.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails here")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use local::eventually;
use private_postgres::{SUPERUSER, psql};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Starting includes making a cluster and certificates, beside everything else that is being tested.
const START: Duration = Duration::from_mins(2);

/// A supervisor on a state folder; it is stopped when it is dropped.
pub(super) struct Up {
    process: Child,
    state: PathBuf,
}

impl Up {
    /// Starts one with so many clients, and does not wait.
    pub(super) fn start(state: &Path, clients: u32) -> Self {
        Self::start_with(state, &["--clients", &clients.to_string()])
    }

    /// The same, with any options.
    pub(super) fn start_with(state: &Path, options: &[&str]) -> Self {
        let output = fs::File::create(state.with_extension("out")).unwrap();
        let process = command(state)
            .args(options)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { process, state: state.to_owned() }
    }

    /// What it said so far.
    pub(super) fn output(&self) -> String {
        fs::read_to_string(self.state.with_extension("out")).unwrap()
    }

    /// Waits until it invites the reader to try it, and answers `stack.json`.
    pub(super) fn wait_until_up(&mut self) -> Value {
        let up = eventually(START, || {
            assert_eq!(self.process.try_wait().unwrap(), None, "{}", self.output());
            self.output().contains("Ctrl-C").then_some(())
        });
        up.unwrap_or_else(|| panic!("not up: {}", self.output()));
        serde_json::from_slice(&fs::read(self.record()).unwrap()).unwrap()
    }

    /// Where `stack.json` is while it is up.
    pub(super) fn record(&self) -> PathBuf {
        self.state.join("stack.json")
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(pid(&self.process.id().into()), signal).unwrap();
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> ExitStatus {
        eventually(START, || self.process.try_wait().unwrap()).expect("it ends")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            self.process.wait().unwrap();
        }
    }
}

/// `portcullis-local up --state DIR`, whatever the environment of the tests says.
pub(super) fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-local"));
    command.args(["up", "--state"]).arg(state).env_remove("DATABASE_URL");
    command
}

/// A process id out of `stack.json`.
pub(super) fn pid(value: &Value) -> Pid {
    value.as_i64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).expect("a process id")
}

/// A text out of `stack.json`.
pub(super) fn text<'a>(record: &'a Value, pointer: &str) -> &'a str {
    record.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {record}"))
}

/// One value of the database, asked by its owner.
pub(super) fn value_of(record: &Value, query: &str) -> String {
    let owner = text(record, "/database_url").replacen("portcullis_operator_login", SUPERUSER, 1);
    psql(&owner, query).unwrap().trim().to_owned()
}

/// Waits until no message is in a worker's hands: one that cannot acknowledge what it wrote keeps trying for
/// some seconds before it stops.
pub(super) fn wait_until_acknowledged(record: &Value) {
    let leased = || value_of(record, "SELECT count(*) FROM jobs WHERE state = 'leased'");
    let none = eventually(START, || (leased() == "0").then_some(()));
    assert!(none.is_some(), "the message of the demonstration stays leased");
}

/// Waits until nothing is left of a stack but its state folder: no process of its record, none that was
/// started on the folder, no socket of the database.
pub(super) fn wait_until_gone(state: &Path, record: &Value) {
    let mut left = Vec::new();
    let gone = eventually(START, || {
        left = left_over(state, record);
        left.is_empty().then_some(())
    });
    assert!(gone.is_some(), "still there: {left:?}");
}

fn left_over(state: &Path, record: &Value) -> Vec<String> {
    let state = fs::canonicalize(state).unwrap();
    let pids: Vec<_> = record["pids"].as_object().unwrap().values().map(Value::to_string).collect();
    let mut left = Vec::new();
    for process in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let name = process.file_name().to_string_lossy().into_owned();
        // what ends meanwhile cannot be read; a zombie is gone, only its foster parent has not noticed yet
        let read = |file: &str| fs::read(process.path().join(file)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let ended = String::from_utf8_lossy(&read("stat")).contains(") Z ");
        // a number alone may be somebody else's by now
        let of_its_kind = command.contains("portcullis-local") || command.contains("postgres");
        let recorded = pids.contains(&name) && of_its_kind;
        if (recorded || command.contains(&*state.to_string_lossy())) && !ended {
            left.push(format!("{name} {command}"));
        }
    }
    let socket = text(record, "/database_url").split(['@', '/']).nth(3).unwrap().replace("%2F", "/");
    if Path::new(&socket).exists() {
        left.push(socket);
    }
    left
}
