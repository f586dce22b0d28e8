//! Which Postgres to run.
//!
//! In: the data directory's version, if it has one. Out: the paths of `initdb`, `postgres` and `psql`.
//! Debian keeps the server's programs out of PATH, in one folder per version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::error::Error;

/// Where Debian puts the server's programs: `<version>/bin` below it.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The folder of the server's programs; `None` is PATH.
#[derive(Debug, Clone)]
pub(crate) struct Binaries(Option<PathBuf>);

impl Binaries {
    /// The programs that fit an existing data directory, else the newest that are installed.
    pub(crate) fn find(data: &Path) -> Result<Self, Error> {
        let written_by = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
        let same = Path::new(DEBIAN).join(written_by.trim()).join("bin");
        if !written_by.is_empty() && same.join("postgres").is_file() {
            return Ok(Self(Some(same)));
        }
        if let Some(newest) = newest_of(Path::new(DEBIAN)) {
            return Ok(Self(Some(newest)));
        }
        let in_path = Self(None);
        let answer = Command::new(in_path.path("initdb")).arg("--version").stdout(Stdio::null()).status();
        match answer {
            Ok(status) if status.success() => Ok(in_path),
            _ => Err(Error::NoServer),
        }
    }

    /// The path of one program.
    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.0.as_ref().map_or_else(|| PathBuf::from(program), |folder| folder.join(program))
    }
}

/// `psql` needs no version to match.
pub(crate) fn psql() -> PathBuf {
    newest_of(Path::new(DEBIAN)).map_or_else(|| PathBuf::from("psql"), |folder| folder.join("psql"))
}

fn newest_of(versions: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(versions).ok()?;
    entries
        .filter_map(|entry| {
            let version: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let folder = versions.join(version.to_string()).join("bin");
            (folder.join("initdb").is_file() && folder.join("postgres").is_file())
                .then_some((version, folder))
        })
        .max()
        .map(|(_, folder)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_installed_version_is_chosen_by_number_not_by_text() {
        let versions = tempfile::tempdir().unwrap();
        for version in ["9", "15", "not-a-version"] {
            let bin = versions.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("initdb"), "").unwrap();
            fs::write(bin.join("postgres"), "").unwrap();
        }
        fs::create_dir_all(versions.path().join("17/bin")).unwrap(); // the client alone
        assert_eq!(newest_of(versions.path()), Some(versions.path().join("15/bin")));
    }
}
