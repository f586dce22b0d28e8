//! The actors: an authority in a throw-away folder, its command line, `openssl`, and a database.

#![expect(clippy::unwrap_used, reason = "a test whose tools are missing cannot go on")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use certs::{Authority, ClientRequest, Host, Issued, Leaf, ServiceRequest, TrustDomain};
use shared::identity::{Name, Role};
use tempfile::TempDir;

/// A saved authority, or a place for one.
pub(crate) struct Pki {
    folder: TempDir,
}

impl Pki {
    /// A place where no authority is yet.
    pub(crate) fn nowhere() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A new authority, saved.
    pub(crate) fn create() -> Self {
        let pki = Self::nowhere();
        Authority::create(TrustDomain::default()).unwrap().save(&pki.dir()).unwrap();
        pki
    }

    /// The same authority in another place.
    pub(crate) fn copy_of(other: &Self) -> Self {
        let copy = Self::nowhere();
        for (path, contents) in other.contents() {
            let place = copy.dir().join(path.strip_prefix(other.dir()).unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, contents).unwrap();
        }
        copy
    }

    /// A file beside its folder.
    pub(crate) fn beside(&self, name: &str, contents: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Its folder; made by whoever saves into it.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    /// A file or folder of it.
    pub(crate) fn at(&self, path: &str) -> String {
        self.dir().join(path).to_str().unwrap().to_owned()
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::load(&self.dir()).unwrap()
    }

    pub(crate) fn issue_client(&self, client: &str) -> Issued {
        let issued = self.authority().issue_client(&name(client), &ClientRequest::default()).unwrap();
        issued.save(&self.dir()).unwrap();
        issued
    }

    pub(crate) fn issue_service(&self, role: Role, service: &str) -> Issued {
        let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
        let issued = self.authority().issue_service(role, &name(service), &request).unwrap();
        issued.save(&self.dir()).unwrap();
        issued
    }

    /// A file with a leaf that was never issued to anybody.
    pub(crate) fn keep(&self, leaf: &Leaf) -> String {
        let path = self.at("distorted.crt");
        fs::write(&path, leaf.certificate_pem()).unwrap();
        path
    }

    /// Runs `portcullis-certs` on this folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = command_line();
        command.arg("--dir").arg(self.dir()).args(arguments);
        answer(command)
    }

    /// Every file below the folder with what it holds, sorted; to see that nothing changed.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = files_below(&self.dir()).into_iter().filter(|path| path.is_file());
        files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
    }

    /// Every file and folder with its permissions.
    pub(crate) fn modes(&self) -> Vec<(PathBuf, u32)> {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        files_below(&self.dir()).into_iter().map(|path| (path.clone(), mode(&path))).collect()
    }
}

/// The folder, what is in it, and what is in that, sorted.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if path.exists() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `portcullis-certs`, with no database in its environment.
pub(crate) fn command_line() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-certs"));
    command.env_remove("DATABASE_URL").env_remove("PORTCULLIS_CA_PASSPHRASE");
    command.stdin(std::process::Stdio::null());
    command
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

pub(crate) fn answer(mut command: Command) -> Answer {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Answer {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        error: String::from_utf8(stderr).unwrap(),
    }
}

/// Runs `openssl`.
pub(crate) fn openssl(arguments: &[&str]) -> Answer {
    let mut command = Command::new("openssl");
    command.args(arguments);
    answer(command)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}
