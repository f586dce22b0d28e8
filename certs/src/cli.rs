//! The command line, `portcullis-certs VERB`: each verb has a file here with its arguments and what it does.
//!
//! In: a verb and, before or after it, the folder of the PKI and the database. Out: words for people or JSON, and exit
//! code 0 (done, and what was looked at is good), 1 (refused or failed, and the reason is on standard error; or what was
//! looked at is not good) or 2 (not understood).

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use shared::config::DatabaseUrl;

mod answer;
mod crl;
mod database;
mod doctor;
mod expiring;
mod holder;
mod holder_files;
mod init_ca;
mod issue;
mod list;
mod lists;
mod manual;
mod passphrase;
mod renew;
mod revoke;
mod verify;
mod send;

/// The certificate authority of Portcullis: makes the CA, and certificates for clients and services.
#[derive(Debug, Parser)]
#[command(name = "portcullis-certs", version, propagate_version = true)]
struct CommandLine {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

/// Where the PKI and its database are, and how to answer.
#[derive(Debug, Args)]
struct Place {
    /// The folder of the certificate authority
    #[arg(long, global = true, value_name = "DIR", default_value = "pki")]
    dir: PathBuf,
    /// The database to register in, a libpq URI; without it the SQL is printed instead
    #[arg(long, global = true, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<DatabaseUrl>,
    /// A file that holds the passphrase of an encrypted key; one newline at its end is not part of it
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Answer in JSON, for machines
    #[arg(long, global = true)]
    json: bool,
    /// Allow a database over TCP without sslmode=verify-full
    #[arg(long, global = true)]
    unsafe_plaintext_database: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a root, an issuing CA for clients and one for services, with empty revocation lists
    InitCa(init_ca::InitCa),
    /// Issue a certificate with a new key, and register it in the database
    Issue {
        #[command(subcommand)]
        holder: issue::Holder,
    },
    /// Give a holder a new certificate and key; the old one may go on for a while
    Renew(renew::Renewal),
    /// Show the revocation lists, sign them anew in time, or take in one of somebody else's CA
    Crl(crl::Crl),
    /// Revoke a holder, or one certificate, by row and by list: for ever, and within a second
    Revoke(revoke::Revocation),
    /// Say whether a certificate is good, check by check; exit code 1 if it is not
    Verify(verify::Verify),
    /// Every certificate that was issued or registered, and how it stands
    List(list::List),
    /// What ends soon; exit code 1 if something ends within 30 days
    Expiring(expiring::Expiring),
    /// Say why a client cannot connect, and what to do
    Doctor(doctor::Doctor),
    /// Send messages to a proxy: one, or a file of them, each stored once
    Send(send::Send),
    /// Write what a shell needs to complete this command line
    Completions(manual::Completions),
    /// Write the manual pages
    Man(manual::Man),
}

/// Reads the command line of this process and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let CommandLine { place, verb } = CommandLine::parse();
    let mut out = anstream::stdout().lock();
    let done = run(&place, verb, &mut out).and_then(|good| Ok(out.flush().map(|()| good)?));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // what was found is on standard output
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // nobody is left to be told when standard error is closed as well
            let _ = writeln!(io::stderr(), "portcullis-certs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: done, but what was found is not good.
fn run(place: &Place, verb: Verb, out: &mut dyn Write) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            Verb::InitCa(arguments) => init_ca::run(place, arguments, out).await,
            Verb::Issue { holder } => issue::run(place, &holder, out).await,
            Verb::Renew(renewal) => renew::run(place, &renewal, out).await,
            Verb::Crl(crl) => crl::run(place, &crl, out).await,
            Verb::Verify(verify) => verify::run(place, &verify, out).await,
            Verb::List(list) => list::run(place, &list, out).await,
            Verb::Expiring(expiring) => expiring::run(place, &expiring, out).await,
            Verb::Completions(shell) => manual::completions(&shell, out),
            Verb::Man(folder) => manual::man(&folder, out),
            Verb::Revoke(revocation) => revoke::run(place, &revocation, out).await,
            Verb::Doctor(doctor) => doctor::run(place, doctor, out).await,
            Verb::Send(send) => send::run(place, send, out).await,
        }
    })
}
