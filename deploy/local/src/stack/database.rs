//! The stack's database: on a cluster of its own, on one that several stacks share, or on somebody else's.
//!
//! Out: a migrated database and a URL for each role. On private clusters every process logs in as a member of
//! its own role; on somebody else's database all use the URL that was given.

use anyhow::Context as _;
use private_postgres::{Cluster, ClusterOptions, SUPERUSER, fresh_database, psql, shared};

/// Login roles, each a member of one group. They need no password: who reaches the socket is trusted.
const LOGINS: [(&str, &str); 3] =
    [(PROXY, "portcullis_proxy"), (SERVER, "portcullis_server"), (OPERATOR, "portcullis_operator")];
pub(super) const PROXY: &str = "portcullis_proxy_login";
pub(super) const SERVER: &str = "portcullis_server_login";
pub(super) const OPERATOR: &str = "portcullis_operator_login";

const NAME: &str = "portcullis";

/// Where the database is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A database of its own on this process's cluster, which all its stacks share.
    Shared,
    /// A cluster of its own.
    Own(ClusterOptions),
    /// Somebody else's, by URL.
    External(String),
}

#[derive(Debug)]
pub(super) struct Database {
    /// The URL of whoever may do everything.
    pub(super) owner_url: String,
    /// `None` if it is somebody else's.
    cluster: Option<Hold>,
}

#[derive(Debug)]
enum Hold {
    Own(Box<Cluster>),
    Shared(&'static Cluster),
}

impl Database {
    pub(super) fn open(place: &Place) -> anyhow::Result<Self> {
        match place {
            Place::Shared => {
                let owner_url = fresh_database(|url| prepare(url).map_err(Into::into))?;
                Ok(Self { owner_url, cluster: Some(Hold::Shared(shared()?)) })
            }
            Place::Own(options) => {
                let cluster = Cluster::start(options.clone())?;
                if !cluster.has_database(NAME)? {
                    cluster.create_database(NAME)?;
                }
                let owner_url = cluster.url(NAME, SUPERUSER);
                prepare(&owner_url)?;
                Ok(Self { owner_url, cluster: Some(Hold::Own(Box::new(cluster))) })
            }
            Place::External(url) => {
                migrate(url)?;
                Ok(Self { owner_url: url.clone(), cluster: None })
            }
        }
    }

    /// The URL for one of the login roles.
    pub(super) fn url_as(&self, login: &str) -> String {
        match &self.cluster {
            Some(_) => self.owner_url.replacen(&format!("//{SUPERUSER}@"), &format!("//{login}@"), 1),
            None => self.owner_url.clone(),
        }
    }

    /// The cluster, unless it is somebody else's.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match self.cluster.as_ref()? {
            Hold::Own(cluster) => Some(cluster),
            Hold::Shared(cluster) => Some(cluster),
        }
    }

    /// The cluster, if no other stack uses it.
    pub(super) fn own_cluster(&self) -> Option<&Cluster> {
        match self.cluster.as_ref()? {
            Hold::Own(cluster) => Some(cluster),
            Hold::Shared(_) => None,
        }
    }
}

fn prepare(url: &str) -> anyhow::Result<()> {
    migrate(url)?;
    for (login, group) in LOGINS {
        let statement = format!(
            "DO $$ BEGIN CREATE ROLE {login} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
             GRANT {group} TO {login}"
        );
        psql(url, &statement)?;
    }
    Ok(())
}

fn migrate(url: &str) -> anyhow::Result<()> {
    super::block_on(|| main_server::migrate(url))?.context("cannot migrate the database")
}
