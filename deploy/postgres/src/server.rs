//! The server program on its data directory: initdb, start, ready, end.
//!
//! In: where and as whom. Out: a postmaster that is our child and accepts connections on its socket.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    account::Account, binaries::Binaries, cluster::SUPERUSER, error::Error, guardian::Guardian, home::Home,
    sql,
};

/// How long a start (with crash recovery) or a stop (with a checkpoint) may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a predecessor's last processes may hold its shared memory after a crash.
const LINGERING: Duration = Duration::from_secs(15);

/// All it takes to run a server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) binaries: Binaries,
    pub(crate) account: Account,
    pub(crate) home: Home,
    pub(crate) settings: Vec<(String, String)>,
}

/// A running server's first process, the parent of all its others.
#[derive(Debug)]
pub(crate) struct Postmaster(Child);

impl Server {
    /// Makes the data directory, unless it is there.
    pub(crate) fn initdb(&self) -> Result<(), Error> {
        let data = &self.home.data;
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        // made aside and renamed, so that an interrupted initdb is not taken for a data directory
        let unfinished = data.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(Error::file("remove", &unfinished))?;
        }
        fs::create_dir(&unfinished).map_err(Error::file("create", &unfinished))?;
        self.account.own(&unfinished)?;
        let mut command = Command::new(self.binaries.path("initdb"));
        command.arg("-D").arg(&unfinished);
        command.args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C"]);
        self.account.apply(&mut command);
        sql::output_of(&mut command)?;
        fs::rename(&unfinished, data).map_err(Error::file("rename", &unfinished))
    }

    /// Starts the server under the guardian's eyes and waits until it accepts connections.
    pub(crate) fn launch(&self, guardian: &mut Guardian) -> Result<Postmaster, Error> {
        // a pid file now means a crash, or a predecessor that is still stopping
        let lingering = self.pid_file().is_some();
        let begun = Instant::now();
        loop {
            let mut postmaster = self.spawn()?;
            guardian.watch(Some(postmaster.pid()))?;
            match self.wait_until_ready(&mut postmaster) {
                Ready::Yes => return Ok(postmaster),
                Ready::Ended if lingering && begun.elapsed() < LINGERING => pause(),
                Ready::Ended => break,
                Ready::TooLate => {
                    postmaster.end(Signal::KILL);
                    break;
                }
            }
        }
        guardian.watch(None)?;
        Err(Error::NotReady { log: self.home.log.clone(), tail: tail_of(&self.home.log) })
    }

    fn spawn(&self) -> Result<Postmaster, Error> {
        let log = File::options().create(true).append(true).open(&self.home.log);
        let log = log.map_err(Error::file("open", &self.home.log))?;
        let errors = log.try_clone().map_err(Error::file("open", &self.home.log))?;
        let program = self.binaries.path("postgres");
        let mut command = Command::new(&program);
        command.arg("-D").arg(&self.home.data);
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("listen_addresses", "");
        set("unix_socket_directories", &self.home.socket.to_string_lossy());
        set("unix_socket_permissions", "0700");
        set("logging_collector", "off");
        // several stacks share a test binary's cluster
        set("max_connections", "300");
        for (name, value) in &self.settings {
            set(name, value);
        }
        // a group of its own, where a Ctrl-C does not reach it before those who use it have stopped
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        self.account.apply(&mut command);
        command.spawn().map(Postmaster).map_err(Error::run(program.to_string_lossy()))
    }

    /// Watches the pid file as `pg_ctl` does: its first line is the pid, its eighth says `ready`
    /// (Postgres' `pidfile.h`). After a crash the file of the dead postmaster is still there, ready for ever.
    fn wait_until_ready(&self, postmaster: &mut Postmaster) -> Ready {
        let pid = postmaster.pid().to_string();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if postmaster.has_ended() {
                return Ready::Ended;
            }
            let file = self.pid_file().unwrap_or_default();
            let ours = file.lines().next().is_some_and(|line| line.trim() == pid);
            if ours && file.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ready::Yes;
            }
            pause();
        }
        Ready::TooLate
    }

    fn pid_file(&self) -> Option<String> {
        fs::read_to_string(self.home.data.join("postmaster.pid")).ok()
    }
}

impl Postmaster {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it in the given way and waits for it; what does not end in time is ended in a harder way.
    pub(crate) fn end(&mut self, how: Signal) {
        for (how, patience) in [(how, PATIENCE), (Signal::QUIT, PATIENCE / 6), (Signal::KILL, PATIENCE)] {
            if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
                // it is not reaped yet, so the pid is still its own; if it just ended, all is well
                let _already_gone = kill_process(pid, how);
            }
            let begun = Instant::now();
            while begun.elapsed() < patience {
                if self.has_ended() {
                    return;
                }
                pause();
            }
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

enum Ready {
    Yes,
    Ended,
    TooLate,
}

/// The one pause of this crate: other processes' progress can only be looked at again and again.
fn pause() {
    thread::sleep(Duration::from_millis(10));
}

fn tail_of(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
