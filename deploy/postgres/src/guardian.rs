//! A process that outlives its owner just long enough to stop what the owner started.
//!
//! In: the postmaster's pid, line by line on a pipe that only the owner holds. Out: when the pipe closes,
//! for whatever reason, kill -9 of the owner included, the postmaster is stopped and the rubbish removed.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::error::Error;

/// `$1` signal, `$2` data directory, `$3` folder to remove. The pid file going away is the sure sign of a
/// finished stop: an orphan that nobody reaps keeps its pid. Others may still be writing into the folder, so it
/// is removed until it is gone.
const SCRIPT: &str = r#"
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -s "$1" "$pid" 2>/dev/null; then
    tries=0
    while [ -e "$2/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 600 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
fi
tries=0
while [ -e "$3" ] && [ "$tries" -lt 200 ]; do
    rm -rf -- "$3" 2>/dev/null || sleep 0.05
    tries=$((tries + 1))
done
"#;

/// The guardian, seen from its owner.
#[derive(Debug)]
pub(crate) struct Guardian {
    process: Child,
    /// `None` once the owner has let go.
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Starts one in a process group of its own, where a Ctrl-C does not reach it. `signal` is `INT` for
    /// data that is kept (a checkpoint, then exit) and `QUIT` for data that goes anyway.
    pub(crate) fn start(signal: &str, data: &Path, rubbish: &Path) -> Result<Self, Error> {
        let mut process = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "portcullis-guardian", signal])
            .args([data, rubbish])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::run("/bin/sh"))?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// Says which postmaster to stop; `None` when there is none just now.
    pub(crate) fn watch(&mut self, postmaster: Option<u32>) -> Result<(), Error> {
        let line = postmaster.map_or_else(String::new, |pid| pid.to_string());
        let Some(pipe) = self.pipe.as_mut() else { return Ok(()) };
        writeln!(pipe, "{line}").map_err(Error::run("the guardian"))
    }

    /// Lets go and waits until the guardian is done.
    pub(crate) fn dismiss(&mut self) {
        drop(self.pipe.take());
        let _gone_either_way = self.process.wait();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.dismiss();
    }
}
