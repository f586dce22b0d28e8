//! A cluster: made once, started, stopped, killed, started again.
//!
//! In: options. Out: a postmaster that is our child, on a Unix socket only, with fsync on unless a caller
//! sets it off to prove that somebody refuses it. A cluster that is dropped is stopped.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{account::Account, binaries::Binaries, error::Error, guardian::Guardian, home::Home, sql};

/// The cluster's superuser. It needs no password: who reaches the socket may use it, and only the
/// cluster's own user and root reach it.
pub const SUPERUSER: &str = "postgres";

/// How long a start (with crash recovery) or a stop (with a checkpoint) may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a predecessor's last processes may hold its shared memory after a crash.
const LINGERING: Duration = Duration::from_secs(15);

/// What kind of cluster to start.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    kept_in: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// A cluster whose data goes with it.
    #[must_use]
    pub fn throw_away() -> Self {
        Self::default()
    }

    /// A cluster whose data stays in this folder, to be started again. Where the server's user cannot enter
    /// the folder, the data lies elsewhere and the log still here.
    #[must_use]
    pub fn kept_in(folder: impl Into<PathBuf>) -> Self {
        Self { kept_in: Some(folder.into()), ..Self::default() }
    }

    /// Adds a server setting, such as `("fsync", "off")`; the last one of a name counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A private cluster. Dropping it stops it.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    account: Account,
    home: Home,
    settings: Vec<(String, String)>,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    guardian: Guardian,
    postmaster: Option<Child>,
}

impl Cluster {
    /// Makes the data directory if there is none yet, and starts a server on it.
    pub fn start(options: ClusterOptions) -> Result<Self, Error> {
        let account = Account::choose()?;
        let home = match &options.kept_in {
            Some(folder) => Home::kept_in(folder, account)?,
            None => Home::throw_away(account)?,
        };
        let stop_signal = if home.goes_with_the_cluster() { "QUIT" } else { "INT" };
        let guardian = Guardian::start(stop_signal, &home.data, &home.rubbish)?;
        let cluster = Self {
            binaries: Binaries::find(&home.data)?,
            account,
            home,
            settings: options.settings,
            running: Mutex::new(Running { guardian, postmaster: None }),
        };
        if !cluster.home.data.join("PG_VERSION").exists() {
            cluster.initdb()?;
        }
        cluster.launch(&mut cluster.running())?;
        Ok(cluster)
    }

    /// A libpq URI for a database of this cluster, as a given role.
    #[must_use]
    pub fn url(&self, database: &str, user: &str) -> String {
        let folder = self.home.socket.to_string_lossy().replace('%', "%25").replace('/', "%2F");
        format!("postgresql://{user}@{folder}/{database}")
    }

    /// The postmaster's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running().postmaster.as_ref().map(Child::id)
    }

    /// Where the server writes its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.home.log
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.home.data
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        self.create_database_from("template0", name)
    }

    /// Creates a database as a copy of another one, to which nobody may be connected.
    pub fn create_database_from(&self, template: &str, name: &str) -> Result<(), Error> {
        let (name, template) = (sql::database_name(name)?, sql::database_name(template)?);
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
        sql::psql(&self.url("postgres", SUPERUSER), &statement).map(drop)
    }

    /// Whether a database of that name exists.
    pub fn has_database(&self, name: &str) -> Result<bool, Error> {
        let name = sql::database_name(name)?;
        let statement = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        Ok(sql::psql(&self.url("postgres", SUPERUSER), &statement)?.trim() == "1")
    }

    /// Stops the server as an administrator would: sessions are ended, a checkpoint is written.
    pub fn stop(&self) -> Result<(), Error> {
        self.end(Signal::INT)
    }

    /// Stops the server at once, as `pg_ctl stop -m immediate` does; the next start recovers from the WAL.
    pub fn stop_immediate(&self) -> Result<(), Error> {
        self.end(Signal::QUIT)
    }

    /// `kill -9` of the postmaster. Its other processes notice and go by themselves.
    pub fn kill_postmaster(&self) -> Result<(), Error> {
        self.end(Signal::KILL)
    }

    /// Starts the server again after one of the above, on the same socket; no effect while it runs.
    pub fn restart(&self) -> Result<(), Error> {
        let mut running = self.running();
        if running.postmaster.is_some() { Ok(()) } else { self.launch(&mut running) }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // what is inside is true after every single assignment, so a panic elsewhere spoils nothing
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn initdb(&self) -> Result<(), Error> {
        let data = &self.home.data;
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

    fn launch(&self, running: &mut Running) -> Result<(), Error> {
        // a pid file now means a crash, or a predecessor that is still stopping
        let lingering = self.home.data.join("postmaster.pid").exists();
        let begun = Instant::now();
        loop {
            let mut postmaster = self.spawn_postmaster()?;
            running.guardian.watch(Some(postmaster.id()))?;
            match self.wait_until_ready(&mut postmaster) {
                Ready::Yes => {
                    running.postmaster = Some(postmaster);
                    return Ok(());
                }
                Ready::Ended if lingering && begun.elapsed() < LINGERING => pause(),
                Ready::Ended => break,
                Ready::TooLate => {
                    signal(&postmaster, Signal::KILL);
                    let _reaped = postmaster.wait();
                    break;
                }
            }
        }
        running.guardian.watch(None)?;
        Err(Error::NotReady { log: self.home.log.clone(), tail: tail_of(&self.home.log) })
    }

    fn spawn_postmaster(&self) -> Result<Child, Error> {
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
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        self.account.apply(&mut command);
        command.spawn().map_err(Error::run(program.to_string_lossy()))
    }

    /// Watches the pid file as `pg_ctl` does: its first line is the pid, its eighth says `ready`
    /// (Postgres' `pidfile.h`). After a crash the file of the dead postmaster is still there, ready for ever.
    fn wait_until_ready(&self, postmaster: &mut Child) -> Ready {
        let pid = postmaster.id().to_string();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(postmaster.try_wait(), Ok(None)) {
                return Ready::Ended;
            }
            let file = fs::read_to_string(self.home.data.join("postmaster.pid")).unwrap_or_default();
            let ours = file.lines().next().is_some_and(|line| line.trim() == pid);
            if ours && file.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ready::Yes;
            }
            pause();
        }
        Ready::TooLate
    }

    fn end(&self, how: Signal) -> Result<(), Error> {
        let mut running = self.running();
        let Some(mut postmaster) = running.postmaster.take() else { return Ok(()) };
        for (how, patience) in [(how, PATIENCE), (Signal::QUIT, PATIENCE / 6), (Signal::KILL, PATIENCE)] {
            signal(&postmaster, how);
            let begun = Instant::now();
            while begun.elapsed() < patience {
                if !matches!(postmaster.try_wait(), Ok(None)) {
                    return running.guardian.watch(None);
                }
                pause();
            }
        }
        running.guardian.watch(None)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // if this fails, the guardian does it as soon as it is let go
        let _left_to_the_guardian =
            if self.home.goes_with_the_cluster() { self.stop_immediate() } else { self.stop() };
        self.running().guardian.dismiss();
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

fn signal(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // the child is not reaped yet, so the pid is still its own; if it just ended, all is well
        let _already_gone = kill_process(pid, signal);
    }
}

fn tail_of(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
