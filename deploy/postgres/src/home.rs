//! Where a cluster's files lie.
//!
//! In: a folder to keep the data in, or none. Out: a data directory that the server's user can reach and
//! a short private folder for the socket (a Unix socket's path is limited to 107 bytes).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{account::Account, error::Error};

/// Where root keeps the data of checkouts that the server's user cannot enter, such as one below /root.
/// Only root can write there, so nobody can put a data directory in our way.
const ROOTS_OWN: &str = "/var/lib/portcullis-local";

/// The longest folder in which `/.s.PGSQL.5432` still fits into `sun_path`.
const LONGEST_SOCKET_FOLDER: usize = 107 - "/.s.PGSQL.5432".len();

/// The folders and files of one cluster.
#[derive(Debug)]
pub(crate) struct Home {
    /// The data directory; it need not exist yet.
    pub(crate) data: PathBuf,
    /// Holds the socket, 0700 and the server's.
    pub(crate) socket: PathBuf,
    /// What the server writes to its standard error.
    pub(crate) log: PathBuf,
    /// What goes when the cluster goes.
    pub(crate) rubbish: PathBuf,
}

impl Home {
    /// Everything in one folder that is removed with the cluster.
    pub(crate) fn throw_away(account: Account) -> Result<Self, Error> {
        let folder = private_folder(account)?;
        Ok(Self {
            data: folder.join("data"),
            log: folder.join("log"),
            socket: folder.clone(),
            rubbish: folder,
        })
    }

    /// Data and log stay; only the socket's folder is removed with the cluster.
    pub(crate) fn kept_in(folder: &Path, account: Account) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        let folder = fs::canonicalize(folder).map_err(Error::file("resolve", folder))?;
        let data = if account.differs_from_ours() && !account.reaches(&folder) {
            let elsewhere = Path::new(ROOTS_OWN);
            fs::create_dir_all(elsewhere).map_err(Error::file("create", elsewhere))?;
            fs::set_permissions(elsewhere, fs::Permissions::from_mode(0o755))
                .map_err(Error::file("set the mode of", elsewhere))?;
            elsewhere.join(one_word(&folder))
        } else {
            folder.join("data")
        };
        let socket = private_folder(account)?;
        Ok(Self { data, log: folder.join("postgres.log"), rubbish: socket.clone(), socket })
    }

    /// Whether the data is part of what is removed with the cluster.
    pub(crate) fn goes_with_the_cluster(&self) -> bool {
        self.data.starts_with(&self.rubbish)
    }
}

/// A fresh folder with a short path that belongs to the server's user and to nobody else.
fn private_folder(account: Account) -> Result<PathBuf, Error> {
    let preferred = std::env::temp_dir();
    let fits = preferred.as_os_str().len() + "/portcullis-XXXXXX".len() <= LONGEST_SOCKET_FOLDER;
    let parent = if fits && preferred.is_absolute() && account.reaches(&preferred) {
        preferred
    } else {
        "/tmp".into()
    };
    let folder = tempfile::Builder::new()
        .prefix("portcullis-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(Error::file("create a folder in", &parent))?
        .keep();
    account.own(&folder)?;
    Ok(folder)
}

/// A path as one file name that two checkouts do not share: `/` becomes `-`, and FNV-1a of the whole keeps
/// `a/b` and `a-b` apart.
fn one_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let words: String = text
        .trim_start_matches('/')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let start = words.len().saturating_sub(60);
    format!("{}-{hash:016x}", words.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_checkouts_never_share_a_data_directory() {
        let names: Vec<_> =
            ["/root/a/b", "/root/a-b", "/root/é"].map(|path| one_word(Path::new(path))).into();
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')));
        assert!(names[0].starts_with("root-a-b-"));
    }

    #[test]
    fn the_socket_fits_into_its_107_bytes() {
        let home = Home::throw_away(Account::choose().unwrap()).unwrap();
        assert!(home.socket.join(".s.PGSQL.5432").as_os_str().len() <= 107);
        assert_eq!(fs::metadata(&home.socket).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir_all(home.rubbish).unwrap();
    }
}
