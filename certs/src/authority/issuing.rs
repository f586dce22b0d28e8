//! What a client's and a service's certificates say, and signing them.
//!
//! Refused: a domain that fits into no certificate, a server without a host, a validity that outlives the CA.

use shared::identity::{Name, Role, Workload};
use time::{Duration, OffsetDateTime};

use super::{Authority, BACKDATED};
use crate::{Host, IssueError, Issued, Issuer, KeySource, KeyUsage, LeafRequest, Purpose};

const END_OF_TIME: OffsetDateTime = time::PrimitiveDateTime::MAX.assume_utc();

/// What may be chosen for a client's certificate.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// The client's domain, its OU: 1 to 64 characters (the bound of X.520).
    pub domain: String,
    /// Validity in days.
    pub days: u32,
}

impl Default for ClientRequest {
    fn default() -> Self {
        Self { domain: "default".to_owned(), days: 365 }
    }
}

/// What may be chosen for a service's certificate.
#[derive(Debug, Clone)]
pub struct ServiceRequest {
    /// Under which names it is called; a proxy or a main server needs at least one.
    pub hosts: Vec<Host>,
    /// Validity in days.
    pub days: u32,
}

impl Default for ServiceRequest {
    fn default() -> Self {
        Self { hosts: Vec::new(), days: 365 }
    }
}

impl Authority {
    /// Issues a certificate with a new key to a client: CN = `name`, OU = domain, clientAuth.
    pub fn issue_client(&self, name: &Name, request: &ClientRequest) -> Result<Issued, IssueError> {
        self.issue_client_for(name, request, &KeySource::default())
    }

    /// As [`Authority::issue_client`], for a key of this kind or one that exists.
    pub fn issue_client_for(
        &self,
        name: &Name,
        request: &ClientRequest,
        key: &KeySource,
    ) -> Result<Issued, IssueError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if request.domain.is_empty() || request.domain.len() > 64 || !request.domain.bytes().all(legal) {
            return Err(IssueError::Domain);
        }
        let issuer = self.clients();
        let leaf = issuer.sign_for(&within(issuer, request.days, self.client_leaf(name, request))?, key)?;
        Ok(self.issued(Workload::Client(name.clone()), Some(request.domain.clone()), leaf))
    }

    /// Issues a certificate with a new key to a service: its role is in the SPIFFE URI, its hosts are the names it
    /// is called by.
    pub fn issue_service(
        &self,
        role: Role,
        name: &Name,
        request: &ServiceRequest,
    ) -> Result<Issued, IssueError> {
        self.issue_service_for(role, name, request, &KeySource::default())
    }

    /// As [`Authority::issue_service`], for a key of this kind or one that exists.
    pub fn issue_service_for(
        &self,
        role: Role,
        name: &Name,
        request: &ServiceRequest,
        key: &KeySource,
    ) -> Result<Issued, IssueError> {
        if request.hosts.is_empty() && serves(role) {
            return Err(IssueError::NoHost(role));
        }
        let issuer = self.services();
        let leaf =
            issuer.sign_for(&within(issuer, request.days, self.service_leaf(role, name, request))?, key)?;
        Ok(self.issued(Workload::Service(role, name.clone()), None, leaf))
    }

    /// What [`Authority::issue_client`] signs: for tests to distort and have signed by an [`Issuer`].
    #[must_use]
    pub fn client_leaf(&self, name: &Name, request: &ClientRequest) -> LeafRequest {
        LeafRequest {
            organizational_unit: Some(request.domain.clone()),
            uris: vec![self.trust_domain.client(name).to_string()],
            ..leaf_for(name, request.days)
        }
    }

    /// What [`Authority::issue_service`] signs: for tests to distort and have signed by an [`Issuer`].
    #[must_use]
    pub fn service_leaf(&self, role: Role, name: &Name, request: &ServiceRequest) -> LeafRequest {
        let mut purposes = vec![Purpose::ClientAuth];
        if serves(role) {
            purposes.insert(0, Purpose::ServerAuth);
        }
        LeafRequest {
            uris: vec![self.trust_domain.service(role, name).to_string()],
            hosts: request.hosts.clone(),
            purposes,
            ..leaf_for(name, request.days)
        }
    }
}

/// Whether others connect to this role, so that it needs a host and serverAuth.
fn serves(role: Role) -> bool {
    matches!(role, Role::Proxy | Role::MainServer)
}

fn leaf_for(name: &Name, days: u32) -> LeafRequest {
    let now = OffsetDateTime::now_utc();
    LeafRequest {
        common_name: name.to_string(),
        organizational_unit: None,
        uris: Vec::new(),
        hosts: Vec::new(),
        not_before: now - BACKDATED,
        // a validity past the year 9999 is refused by `within`, for it outlives every CA
        not_after: now.checked_add(Duration::days(days.into())).unwrap_or(END_OF_TIME),
        purposes: vec![Purpose::ClientAuth],
        key_usages: vec![KeyUsage::DigitalSignature],
        authority: false,
    }
}

fn within(issuer: &Issuer, days: u32, request: LeafRequest) -> Result<LeafRequest, IssueError> {
    if days == 0 {
        return Err(IssueError::NoDays);
    }
    let issuer_ends = issuer.facts().validity.not_after;
    if request.not_after.unix_timestamp() > issuer_ends {
        let seconds_left = issuer_ends - OffsetDateTime::now_utc().unix_timestamp();
        return Err(IssueError::OutlivesIssuer { issuer: issuer.title(), days_left: seconds_left / 86_400 });
    }
    Ok(request)
}
