//! `portcullis-local up` as people and scripts use it: started, used, stopped, started again.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails here")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use local::{Curl, eventually};
use private_postgres::{SUPERUSER, psql};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Starting includes making a cluster and certificates, beside everything else that is being tested.
const START: Duration = Duration::from_mins(2);

/// A supervisor on a state folder; it is stopped when it is dropped.
struct Up {
    process: Child,
    state: PathBuf,
}

impl Up {
    fn start(state: &Path) -> Self {
        let output = fs::File::create(state.with_extension("out")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_portcullis-local"))
            .args(["up", "--clients", "2", "--state"])
            .arg(state)
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { process, state: state.to_owned() }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.state.with_extension("out")).unwrap()
    }

    /// Waits until it invites the reader to try it, and answers `stack.json`.
    fn wait_until_up(&mut self) -> Value {
        let up = eventually(START, || {
            assert_eq!(self.process.try_wait().unwrap(), None, "{}", self.output());
            self.output().contains("Ctrl-C").then_some(())
        });
        up.unwrap_or_else(|| panic!("not up: {}", self.output()));
        serde_json::from_slice(&fs::read(self.record()).unwrap()).unwrap()
    }

    fn record(&self) -> PathBuf {
        self.state.join("stack.json")
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(&self.process.id().into()), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
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

fn pid(value: &Value) -> Pid {
    value.as_i64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).expect("a process id")
}

fn pids(record: &Value) -> Vec<Pid> {
    record["pids"].as_object().unwrap().values().map(pid).collect()
}

/// Gone, or a zombie that only its foster parent has not reaped yet.
fn is_gone(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .map_or(true, |stat| stat.contains(") Z "))
}

fn wait_until_gone(pids: &[Pid]) {
    for pid in pids {
        let gone = eventually(START, || is_gone(*pid).then_some(()));
        assert!(gone.is_some(), "process {pid:?} is still there");
    }
}

/// A worker that cannot acknowledge what it wrote keeps trying for some seconds before it stops.
fn wait_until_acknowledged(record: &Value) {
    let owner = text(record, "/database_url").replacen("portcullis_operator_login", SUPERUSER, 1);
    let leased = "SELECT count(*) FROM jobs WHERE state = 'leased'";
    let none = eventually(START, || (psql(&owner, leased).unwrap().trim() == "0").then_some(()));
    assert!(none.is_some(), "the message of the demonstration stays leased");
}

fn text<'a>(record: &'a Value, pointer: &str) -> &'a str {
    record.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {record}"))
}

#[test]
fn it_is_up_delivers_a_message_stops_at_ctrl_c_and_comes_back_on_the_same_ports() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut first = Up::start(&state);
    let before = first.wait_until_up();
    assert!(first.output().contains("the answer: 202"), "{}", first.output());

    // everything that stack.json names can be used as it stands
    assert_eq!(before["clients"].as_array().unwrap().len(), 2);
    let curl = Curl::believing(Path::new(text(&before, "/ca"))).with_certificate(
        Path::new(text(&before, "/clients/1/cert")),
        Path::new(text(&before, "/clients/1/key")),
    );
    let seen = curl.get(&format!("{}/api/v1/whoami", text(&before, "/proxy/url"))).unwrap();
    assert_eq!(seen.json().unwrap()["client_id"], "client_002");
    for process in ["proxy", "main_server", "worker"] {
        let management = text(&before, &format!("/{process}/management")).to_owned();
        assert_eq!(Curl::default().get(&format!("{management}/readyz")).unwrap().status, 200);
    }
    let database = text(&before, "/database_url");
    psql(database, "UPDATE clients SET status = 'revoked' WHERE client_id = 'client_001'").unwrap();

    // a second one on the same folder is refused, and harms nothing
    let second =
        Command::new(env!("CARGO_BIN_EXE_portcullis-local")).args(["up", "--state"]).arg(&state).output();
    let second = second.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another portcullis-local"));
    assert!(first.record().exists());

    first.signal(Signal::INT);
    assert_eq!(first.wait().code(), Some(0), "{}", first.output());
    wait_until_gone(&pids(&before));
    assert!(!first.record().exists());

    // the revoked client has a new certificate, and everything is where it was
    let mut again = Up::start(&state);
    let after = again.wait_until_up();
    assert!(again.output().contains("the answer: 202"), "{}", again.output());
    for pointer in ["/proxy/url", "/main_server/url", "/main_server/worker_url", "/worker/management", "/ca"]
    {
        assert_eq!(text(&before, pointer), text(&after, pointer));
    }
    again.signal(Signal::TERM);
    assert_eq!(again.wait().code(), Some(0), "{}", again.output());
}

#[test]
fn nothing_survives_its_supervisor_killed_with_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(&folder.path().join("state"));
    let record = up.wait_until_up();
    wait_until_acknowledged(&record);
    up.signal(Signal::KILL);
    up.wait();
    wait_until_gone(&pids(&record));
}

#[test]
fn a_process_that_dies_stops_the_rest_and_is_named_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(&folder.path().join("state"));
    let record = up.wait_until_up();
    kill_process(pid(&record["pids"]["worker"]), Signal::KILL).unwrap();
    assert_eq!(up.wait().code(), Some(1));
    assert!(up.output().contains("worker-1 ended"), "{}", up.output());
    assert!(up.output().contains("worker-1.log"), "{}", up.output());
    wait_until_gone(&pids(&record));
    assert!(!up.record().exists());
}
