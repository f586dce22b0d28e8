//! The stack's certificates: made once, reused, registered in its database.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;
use certs::{
    Authority, ClientRequest, Host, Issued, ServiceRequest, TrustDomain, folder::folder_of, register,
};
use private_postgres::psql;
use shared::identity::{Name, Role, Workload};
use sqlx::{Connection as _, PgConnection};

use super::{Kind, lists::Lists};
use crate::up::say;

/// A client's files, for `curl --cert --key --cacert`.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// The certificate and the CA that issued it.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The root.
    pub ca: PathBuf,
}

/// A service's files.
#[derive(Debug, Clone)]
pub(super) struct ServiceFiles {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// The authority and where its files lie.
#[derive(Debug)]
pub(super) struct Pki {
    pub(super) authority: Authority,
    pub(super) folder: PathBuf,
    pub(super) owner_url: String,
    pub(super) lists: Lists,
}

impl Pki {
    /// Reads the authority in this folder, or makes one; puts its revocation lists into the database.
    pub(super) fn open(folder: PathBuf, owner_url: &str) -> anyhow::Result<Self> {
        let authority = if folder.join("ca.toml").exists() {
            let mut authority = Authority::load(&folder)?;
            // A stack that was not started for a week must not find them out of date.
            authority.refresh_crls(&folder, false)?;
            authority
        } else {
            let authority = Authority::create(TrustDomain::default())?;
            authority.save(&folder)?;
            authority
        };
        let lists = Lists::of(&authority);
        let pki = Self { authority, folder, owner_url: owner_url.to_owned(), lists };
        pki.publish_lists(&pki.lists.current())?;
        Ok(pki)
    }

    /// Takes away what no longer admits anybody (revoked by row or list, suspended, expired or about to), so that
    /// the next start issues it anew. For databases that are this stack's own.
    pub(super) fn retire_unusable(&self) -> anyhow::Result<()> {
        const UNUSABLE: &str = "status <> 'active' OR expires_at < now() + interval '1 day'";
        // names, of which none needs an escape
        let listed = format!("ANY ('{{{}}}')", self.holders_on_lists()?.join(","));
        let statement = format!(
            "DELETE FROM clients WHERE {UNUSABLE} OR 'clients/' || client_id = {listed} \
             RETURNING 'clients/' || client_id; \
             DELETE FROM services WHERE {UNUSABLE} OR 'services/' || role || '/' || service_id = {listed} \
             RETURNING 'services/' || role || '/' || service_id"
        );
        for holder in psql(&self.owner_url, &statement)?.lines() {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let kept = self.folder.join("backup").join(format!("{}.{now}", holder.replace('/', ".")));
            fs::create_dir_all(self.folder.join("backup"))?;
            let folder = self.folder.join(holder);
            if folder.exists() {
                fs::rename(&folder, &kept).with_context(|| format!("cannot move {}", folder.display()))?;
            }
            say(&format!("{holder} was revoked, suspended or has expired: it gets a new certificate"));
        }
        Ok(())
    }

    /// The root's certificate.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A registered client.
    pub(super) fn client(&self, id: &str) -> anyhow::Result<Client> {
        let name: Name = id.parse()?;
        let holder = Workload::Client(name.clone());
        let issue = || self.authority.issue_client(&name, &ClientRequest::default());
        let (cert, key) = self.registered(&holder, issue)?;
        Ok(Client { id: id.to_owned(), cert, key, ca: self.root() })
    }

    /// A registered service of this machine.
    pub(super) fn service(&self, kind: Kind, name: &str) -> anyhow::Result<ServiceFiles> {
        let name: Name = name.parse()?;
        let role = match kind {
            Kind::Proxy => Role::Proxy,
            Kind::MainServer => Role::MainServer,
            Kind::Worker => Role::Worker,
        };
        let hosts = if kind == Kind::Worker { Vec::new() } else { Host::loopback() };
        let request = ServiceRequest { hosts, ..ServiceRequest::default() };
        let holder = Workload::Service(role, name.clone());
        let (cert, key) = self.registered(&holder, || self.authority.issue_service(role, &name, &request))?;
        Ok(ServiceFiles { cert, key })
    }

    fn registered(
        &self,
        holder: &Workload,
        issue: impl FnOnce() -> Result<Issued, certs::IssueError>,
    ) -> anyhow::Result<(PathBuf, PathBuf)> {
        let issued = if let Some(issued) = Issued::load(&self.folder, holder)? {
            issued
        } else {
            let issued = issue()?;
            issued.save(&self.folder)?;
            issued
        };
        self.register(&issued)?;
        Ok(files_of(&self.folder, &issued))
    }

    /// Registers what was issued.
    pub(super) fn register(&self, issued: &Issued) -> anyhow::Result<()> {
        super::block_on(|| async {
            let mut database =
                PgConnection::connect(&self.owner_url).await.context("cannot reach the database")?;
            register::issued(&mut database, issued).await?;
            Ok(database.close().await?)
        })?
    }
}

/// Certificate and key of a holder in a PKI's folder.
pub(super) fn files_of(folder: &Path, issued: &Issued) -> (PathBuf, PathBuf) {
    let folder = folder_of(folder, &issued.holder);
    let name = issued.name();
    (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")))
}
