//! SQL through `psql`, so that this crate needs no driver.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{binaries, error::Error};

/// Runs SQL and returns its rows, unaligned and without headings. The first error ends it.
pub fn psql(url: &str, statements: &str) -> Result<String, Error> {
    output_of(quiet_psql(url).args(["-A", "-t", "-c", statements]))
}

/// Applies every `*.sql` of a folder in the order of their names, each in one transaction.
pub fn apply_migrations(url: &str, folder: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    for file in files {
        output_of(quiet_psql(url).arg("-1").arg("-f").arg(file))?;
    }
    Ok(())
}

/// The project's own `migrations` folder.
#[must_use]
pub fn migrations_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations")
}

fn quiet_psql(url: &str) -> Command {
    let mut command = Command::new(binaries::psql());
    // no ~/.psqlrc and no PGOPTIONS of the user's may change what happens
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]).env_remove("PGOPTIONS");
    command.env("PGCLIENTENCODING", "UTF8");
    command
}

/// Runs a program to its end; what it wrote is the answer or part of the error.
pub(crate) fn output_of(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(Error::run(&program))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(Error::Failed { program, status: output.status, output: said })
}

/// A name that needs no quoting.
pub(crate) fn database_name(name: &str) -> Result<&str, Error> {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let starts = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if plain && starts && name.len() <= 63 { Ok(name) } else { Err(Error::DatabaseName(name.to_owned())) }
}
