//! `issue`: a certificate in its folder and a row in the database, both or neither.

use std::{io::Write, path::PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use shared::identity::{Name, Role, Workload};
use sqlx::Connection;

use super::{
    Place,
    answer::give,
    database,
    holder::title,
    holder_files::{self, ClientFiles, describe, report},
    passphrase,
};
use crate::{
    Authority, Ca, ClientRequest, Host, IssueError, Issued, KeyKind, KeySource, ServiceRequest,
    folder::{self, FolderError, Writing},
    register::{self, Registered},
    statement,
};

/// Who asks for a certificate.
#[derive(Debug, Subcommand)]
pub(super) enum Holder {
    /// For a client, which sends messages through the proxy
    Client(Client),
    /// For a proxy, which clients call by its hosts
    Proxy(Service),
    /// For a main server, which proxies and workers call by its hosts
    MainServer(Service),
    /// For a worker
    Worker(Service),
    /// For a person or tool that looks after clients and queues
    Operator(Service),
}

/// What a client's certificate says.
#[derive(Debug, Args)]
pub(super) struct Client {
    /// The client's id: the CN, the folder and the `client_id` in the database
    name: Name,
    /// The client's domain: the OU
    #[arg(long, default_value = "default")]
    domain: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    files: ClientFiles,
}

/// What a service's certificate says.
#[derive(Debug, Args)]
pub(super) struct Service {
    /// The service's name, unique within its role
    name: Name,
    /// A DNS name or IP address it is called by; may be repeated, or several separated by commas
    #[arg(long = "host", value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<Host>,
    #[command(flatten)]
    terms: Terms,
}

/// For how long, and for which key.
#[derive(Debug, Args)]
struct Terms {
    /// Validity in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// The kind of key that is made
    #[arg(long, value_name = "KIND", default_value = "ecdsa-p256")]
    key: KeyKind,
    /// A signing request (PKCS#10, PEM or DER): only its public key is used, and the private one stays where it is
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    csr: Option<PathBuf>,
}

impl Terms {
    fn key(&self) -> anyhow::Result<KeySource> {
        match &self.csr {
            Some(file) => holder_files::request(file),
            None => Ok(KeySource::New(self.key)),
        }
    }
}

impl Holder {
    fn workload(&self) -> Workload {
        let (role, service) = match self {
            Self::Client(client) => return Workload::Client(client.name.clone()),
            Self::Proxy(service) => (Role::Proxy, service),
            Self::MainServer(service) => (Role::MainServer, service),
            Self::Worker(service) => (Role::Worker, service),
            Self::Operator(service) => (Role::Operator, service),
        };
        Workload::Service(role, service.name.clone())
    }

    fn terms(&self) -> &Terms {
        match self {
            Self::Client(client) => &client.terms,
            Self::Proxy(service)
            | Self::MainServer(service)
            | Self::Worker(service)
            | Self::Operator(service) => &service.terms,
        }
    }

    fn issue(&self, authority: &Authority, key: &KeySource) -> Result<Issued, IssueError> {
        let days = self.terms().days;
        let issue = |role, service: &Service| {
            let request = ServiceRequest { hosts: service.hosts.clone(), days };
            authority.issue_service_for(role, &service.name, &request, key)
        };
        match self {
            Self::Client(client) => {
                let request = ClientRequest { domain: client.domain.clone(), days };
                authority.issue_client_for(&client.name, &request, key)
            }
            Self::Proxy(service) => issue(Role::Proxy, service),
            Self::MainServer(service) => issue(Role::MainServer, service),
            Self::Worker(service) => issue(Role::Worker, service),
            Self::Operator(service) => issue(Role::Operator, service),
        }
    }
}

pub(super) async fn run(place: &Place, holder: &Holder, out: &mut dyn Write) -> anyhow::Result<bool> {
    let workload = holder.workload();
    let writing = Writing::begin(&place.dir)?;
    let mut authority = Authority::load(&place.dir)?;
    folder::vacant(&place.dir, &workload).map_err(|refusal| with_remedy(refusal, place, &workload))?;
    let key = holder.terms().key()?;
    let mut database = database::connect(place).await?;
    passphrase::unlock(place, &mut authority, &[Ca::of(&workload)])?;
    let issued = holder.issue(&authority, &key)?;
    let none = ClientFiles::default();
    let files = if let Holder::Client(client) = holder { &client.files } else { &none };
    let locked = files.locked(&issued)?;
    let staged = holder_files::stage(&issued, &locked, &writing, false, files)?;
    let Some(connection) = &mut database else {
        let folder = staged.publish()?;
        let mut report = report(&issued, &folder)?;
        report.sql = Some(statement::registering(&issued));
        give(place, out, &report, |out| {
            describe(&issued, &report, out)?;
            let sql = statement::registering(&issued);
            writeln!(out, "not registered yet, for no database was given; with psql:\n\n{sql}")?;
            Ok(())
        })?;
        return Ok(true);
    };
    // The folder is moved into place in the middle: if the database refuses, nothing is left of it; if the move
    // fails, no row is. Only an unconfirmed commit leaves the folder without knowing of the row, and says so.
    let mut transaction = connection.begin().await?;
    register::crls(&mut transaction, &authority.crls()).await?;
    let registered = register::issued(&mut transaction, &issued).await?;
    let folder = staged.publish()?;
    transaction.commit().await.with_context(|| {
        format!(
            "the certificate is in {}, but the database did not confirm its registration; if there is no row for {}, \
             register it with psql:\n\n{}\n",
            folder.display(),
            title(&issued.holder),
            statement::registering(&issued),
        )
    })?;
    let mut report = report(&issued, &folder)?;
    report.registered = true;
    give(place, out, &report, |out| {
        describe(&issued, &report, out)?;
        match registered {
            Registered::Now => writeln!(out, "registered in the database as active")?,
            Registered::Before => writeln!(out, "it was registered in the database before")?,
        }
        Ok(())
    })?;
    Ok(true)
}

/// Whoever lost the SQL, or was interrupted between the folder and the row, finds it here.
fn with_remedy(refusal: FolderError, place: &Place, holder: &Workload) -> anyhow::Error {
    match (&refusal, Issued::load(&place.dir, holder)) {
        (FolderError::NameTaken(_), Ok(Some(issued))) => {
            anyhow!(
                "{refusal}. if it was never registered, with psql:\n\n{}",
                statement::registering(&issued)
            )
        }
        _ => refusal.into(),
    }
}
