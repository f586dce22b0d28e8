//! `with-postgres COMMAND ARGUMENTS…`: runs a command beside a throw-away, migrated cluster.
//!
//! In: a command. Out: the command with `DATABASE_URL` set, its exit code, and nothing left behind.

use std::{
    env,
    process::{Command, ExitCode},
};

use private_postgres::{Cluster, ClusterOptions, SUPERUSER, apply_migrations, migrations_folder};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command-line tool tells its user")]
            {
                eprintln!("with-postgres: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else { anyhow::bail!("usage: with-postgres COMMAND ARGUMENTS…") };
    let cluster = Cluster::start(ClusterOptions::throw_away())?;
    cluster.create_database("portcullis")?;
    let url = cluster.url("portcullis", SUPERUSER);
    apply_migrations(&url, &migrations_folder())?;
    let status = Command::new(program).args(arguments).env("DATABASE_URL", url).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
