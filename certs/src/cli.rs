//! The command line: `portcullis-certs init-ca`, `issue KIND NAME`, `renew NAME`, `revoke NAME`,
//! `crl --refresh`.
//!
//! In: a verb and, before or after it, the folder of the PKI and the database. Out: words for people, and exit code 0
//! (done), 1 (refused or failed: the reason is on standard error) or 2 (not understood).

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use shared::{
    config::{DatabaseUrl, Span},
    identity::{Name, Role, Workload},
};

use crate::{ClientRequest, Host, ServiceRequest, TrustDomain};

mod crl;
mod database;
mod doctor;
mod init_ca;
mod issue;
mod renew;
mod revoke;
mod send;

use issue::Request;

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
    InitCa {
        /// The first part of the SPIFFE ids in every certificate
        #[arg(long, value_name = "DOMAIN", default_value_t)]
        trust_domain: TrustDomain,
    },
    /// Issue a certificate with a new key, and register it in the database
    Issue {
        #[command(subcommand)]
        holder: Holder,
    },
    /// Give a client a new certificate and key; the old one may go on for a while
    Renew(Renewal),
    /// Keep the revocation lists good: sign those that are past half of their life anew, and send them all
    Crl {
        /// Sign what is due; to be run daily, by a timer
        #[arg(long, required = true)]
        refresh: bool,
        /// Sign every list anew, due or not
        #[arg(long)]
        all: bool,
    },
    /// Revoke a client, or one certificate, in the database: for ever, and within a second
    Revoke(Revocation),
    /// Say why a client cannot connect, and what to do
    Doctor(doctor::Doctor),
    /// Send messages to a proxy: one, or a file of them, each stored once
    Send(send::Send),
}

#[derive(Debug, Args)]
struct Renewal {
    /// The client's id
    name: Name,
    /// Validity in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// How long the old certificate goes on beside the new one, such as 7d (at most 90d)
    #[arg(long, value_name = "TIME", default_value = "0s")]
    overlap: Span,
}

#[derive(Debug, Args)]
struct Revocation {
    /// The client's id: all its certificates are revoked
    #[arg(required_unless_present = "fingerprint")]
    name: Option<Name>,
    /// One certificate, in whatever way its fingerprint is written. A client's current one stands for the client
    #[arg(long, value_name = "SHA256", conflicts_with = "name")]
    fingerprint: Option<String>,
    /// Why, as the refused caller is told: a name out of RFC 5280
    #[arg(long, default_value = "unspecified", value_parser = REASONS)]
    reason: String,
    /// Why, for people; the refused caller is not told
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Wait until every proxy that reports has it in force
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "wait")]
    timeout: Span,
}

/// RFC 5280 §5.3.1, without those that end a revocation or only delay it.
const REASONS: [&str; 8] = [
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
    "aACompromise",
];

#[derive(Debug, Subcommand)]
enum Holder {
    /// For a client, which sends messages through the proxy
    Client {
        /// The client's id: the CN, the folder and the `client_id` in the database
        name: Name,
        /// The client's domain: the OU
        #[arg(long, default_value = "default")]
        domain: String,
        /// Validity in days
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
        days: u32,
    },
    /// For a proxy, which clients call by its hosts
    Proxy(Service),
    /// For a main server, which proxies and workers call by its hosts
    MainServer(Service),
    /// For a worker
    Worker(Service),
    /// For a person or tool that looks after clients and queues
    Operator(Service),
}

#[derive(Debug, Args)]
struct Service {
    /// The service's name, unique within its role
    name: Name,
    /// A DNS name or IP address it is called by; may be repeated, or several separated by commas
    #[arg(long = "host", value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<Host>,
    /// Validity in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
}

impl Holder {
    fn request(self) -> Request {
        let (role, service) = match self {
            Self::Client { name, domain, days } => {
                return Request::Client(name, ClientRequest { domain, days });
            }
            Self::Proxy(service) => (Role::Proxy, service),
            Self::MainServer(service) => (Role::MainServer, service),
            Self::Worker(service) => (Role::Worker, service),
            Self::Operator(service) => (Role::Operator, service),
        };
        Request::Service(role, service.name, ServiceRequest { hosts: service.hosts, days: service.days })
    }
}

/// Reads the command line of this process and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let CommandLine { place, verb } = CommandLine::parse();
    let mut out = io::stdout().lock();
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
            Verb::InitCa { trust_domain } => init_ca::run(place, trust_domain, out).await,
            Verb::Issue { holder } => issue::run(place, holder.request(), out).await,
            Verb::Renew(renewal) => renew::run(place, &renewal, out).await,
            Verb::Crl { refresh: _, all } => crl::run(place, all, out).await,
            Verb::Revoke(revocation) => revoke::run(place, &revocation, out).await,
            Verb::Doctor(doctor) => return doctor::run(place, doctor, out).await,
            Verb::Send(send) => return send::run(place, send, out).await,
        }
        .map(|()| true)
    })
}

/// What people call a holder: `client client_001`, `worker w1`.
fn title(holder: &Workload) -> String {
    match holder {
        Workload::Client(name) => format!("client {name}"),
        Workload::Service(role, name) => format!("{role} {name}"),
    }
}
