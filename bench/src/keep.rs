//! Keeps a peer's process: runs it until our standard input ends, so that it never outlives the bench.
//!
//! In: a command line. Out: its exit. When whoever started us is gone, however that came about, the process is
//! asked to stop and, if it does not, killed.

use std::{
    io::Read as _,
    os::unix::process::CommandExt as _,
    process::{Child, Command as Program, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use local::eventually;
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to stop when asked.
const STOP: Duration = Duration::from_secs(20);
/// How often we look whether it has ended by itself.
const LOOK: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// Run it as this user
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// Run it as this group
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs it to its end; `false` if it ended before we did.
pub(crate) fn run(command: &Command) -> anyhow::Result<bool> {
    let (program, arguments) = command.words.split_first().context("no command to keep")?;
    let mut child = Program::new(program);
    child.args(arguments).stdin(Stdio::null());
    if let (Some(uid), Some(gid)) = (command.uid, command.gid) {
        child.uid(uid).gid(gid);
    }
    let mut child = child.spawn().with_context(|| format!("cannot run {program}"))?;
    let (gone, owner) = mpsc::channel::<()>();
    thread::spawn(move || {
        let _until_its_end = std::io::stdin().read_to_end(&mut Vec::new());
        drop(gone);
    });
    while owner.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
    }
    stop(&mut child)?;
    Ok(true)
}

fn stop(child: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // not waited for yet, so the id is still its own
        let _already_gone = kill_process(pid, Signal::TERM);
    }
    if eventually(STOP, || child.try_wait().ok().flatten()).is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
