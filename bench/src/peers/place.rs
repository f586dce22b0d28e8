//! Where a peer lives: a folder of its own user's, a free port, a process that ends when we do.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use local::eventually;
use tempfile::TempDir;

use crate::processor::Watched;

/// As whom a peer runs: ourselves, unless we are root; then `nobody`.
const ACCOUNT: &str = "nobody";

/// A folder that a peer's user owns.
#[derive(Debug)]
pub(super) struct Place {
    folder: TempDir,
    account: Option<(u32, u32)>,
}

impl Place {
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portcullis-bench-").tempdir()?;
        let account = rustix::process::geteuid().is_root().then(account).transpose()?;
        let place = Self { folder, account };
        place.own(place.folder.path(), 0o700)?;
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a folder in it.
    pub(super) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir(&path)?;
        self.own(&path, 0o700)?;
        Ok(path)
    }

    /// Writes a file into it.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        self.own(&path, 0o600)?;
        Ok(path)
    }

    /// Puts several files, one after the other, into one of it.
    pub(super) fn gather(&self, name: &str, files: &[&Path]) -> anyhow::Result<PathBuf> {
        let mut content = Vec::new();
        for file in files {
            content.extend(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
        }
        self.write(name, &content)
    }

    /// Starts a process of the peer's that is kept until the result is dropped.
    pub(super) fn keep(&self, environment: &[(&str, String)], words: &[&str]) -> anyhow::Result<Kept> {
        let executable = std::env::current_exe().context("cannot find out which executable this is")?;
        let log = fs::File::options().create(true).append(true).open(self.path("output.log"))?;
        let mut keeper = Command::new(executable);
        keeper.arg("keep");
        if let Some((user, group)) = self.account {
            keeper.args([format!("--uid={user}"), format!("--gid={group}")]);
        }
        keeper.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
        keeper.current_dir(self.folder.path()).process_group(0);
        keeper.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = keeper.spawn().context("cannot start a peer's keeper")?;
        let stdin = child.stdin.take();
        Ok(Kept { child, stdin })
    }

    /// Waits until somebody listens.
    pub(super) fn wait_for(
        &self,
        kept: &mut Kept,
        address: SocketAddr,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let outcome = eventually(patience, || {
            if TcpStream::connect(address).is_ok() {
                return Some(true);
            }
            kept.child.try_wait().ok().flatten().map(|_| false)
        });
        if outcome == Some(true) {
            return Ok(());
        }
        let log = fs::read_to_string(self.path("output.log")).unwrap_or_default();
        let end = log.lines().rev().take(15).collect::<Vec<_>>();
        bail!("nobody listens on {address}: {}", end.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    fn own(&self, path: &Path, mode: u32) -> anyhow::Result<()> {
        if let Some((user, group)) = self.account {
            chown(path, Some(user), Some(group))?;
        }
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    }
}

/// A process of a peer's. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Kept {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Kept {
    /// It and all its descendants; its keeper does nothing.
    pub(super) fn watched(&self, label: &str) -> Watched {
        Watched::new(label, self.child.id())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stdin = None;
        let _stopped = self.child.wait();
    }
}

/// A port of this machine that nobody listens on.
pub(super) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// passwd(5): `name:password:UID:GID:…`.
fn account() -> anyhow::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(ACCOUNT));
    let mut ids = line.with_context(|| format!("no user {ACCOUNT}"))?.split(':').skip(2).map(str::parse);
    match (ids.next(), ids.next()) {
        (Some(Ok(user)), Some(Ok(group))) => Ok((user, group)),
        _ => bail!("the user {ACCOUNT} has no ids in /etc/passwd"),
    }
}
