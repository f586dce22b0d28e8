//! As whom the server runs: ourselves, or somebody unprivileged when we are root.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use crate::error::Error;

/// The user that owns the data and runs the server. `None`: the invoking user, who is not root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account(Option<Ids>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    user: u32,
    group: u32,
}

impl Account {
    /// Ourselves, unless we are root: then `postgres`, else `nobody`.
    pub(crate) fn choose() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let users = fs::read_to_string("/etc/passwd").map_err(Error::file("read", "/etc/passwd"))?;
        let ids = look_up(&users, "postgres").or_else(|| look_up(&users, "nobody"));
        ids.map(|ids| Self(Some(ids))).ok_or(Error::NoAccount)
    }

    /// Makes a command run as this user. The standard library drops root's supplementary groups with it.
    pub(crate) fn apply(self, command: &mut Command) {
        // the server may not be able to enter the folder we stand in
        command.current_dir("/");
        if let Some(ids) = self.0 {
            command.uid(ids.user).gid(ids.group);
        }
    }

    /// Hands a folder of ours to this user.
    pub(crate) fn own(self, path: &Path) -> Result<(), Error> {
        match self.0 {
            Some(ids) => chown(path, Some(ids.user), Some(ids.group)).map_err(Error::file("chown", path)),
            None => Ok(()),
        }
    }

    /// Whether this user can enter the folder, asked by trying it.
    pub(crate) fn reaches(self, folder: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"cd -- "$0""#]).arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }

    /// Whether we are root and the server is not.
    pub(crate) const fn differs_from_ours(self) -> bool {
        self.0.is_some()
    }
}

/// One user of passwd(5): `name:password:UID:GID:…`. Root under another name is no answer.
fn look_up(users: &str, name: &str) -> Option<Ids> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2).map(str::parse);
    match (ids.next(), ids.next()) {
        (Some(Ok(user)), Some(Ok(group))) if user != 0 => Some(Ids { user, group }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name_and_root_in_disguise_is_refused() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\ntoor:x:0:0::/:";
        assert_eq!(look_up(users, "postgres"), Some(Ids { user: 101, group: 104 }));
        assert_eq!(look_up(users, "toor"), None);
        assert_eq!(look_up(users, "nobody"), None);
    }
}
