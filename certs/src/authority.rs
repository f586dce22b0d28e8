//! The whole authority: a root that signs two issuing CAs, which sign everything else.
//!
//! In: who wants a certificate. Out: that certificate, in memory. Refused: a server without a host, a validity
//! that outlives the CA. Clients and services have separate issuing CAs, so that a stolen client key is
//! useless against the main server even on a flat network.

use shared::identity::{Name, Role, Workload};
use time::{Duration, OffsetDateTime};

use crate::{
    Host, IssueError, Issued, Issuer, KeyUsage, LeafRequest, Purpose, RevocationList, TrustDomain,
    issuer::NewCa,
};

/// How long before the present a certificate begins. The holder uses it at once, and the machine that judges it
/// may be some minutes behind; more would only blur when it was issued.
const BACKDATED: Duration = Duration::minutes(5);

const ROOT_VALIDITY: Duration = Duration::days(3652);
const ISSUING_VALIDITY: Duration = Duration::days(1826);
/// The root is offline, so its list lives long.
const ROOT_CRL_VALIDITY: Duration = Duration::days(365);
const ISSUING_CRL_VALIDITY: Duration = Duration::days(7);

const END_OF_TIME: OffsetDateTime = time::PrimitiveDateTime::MAX.assume_utc();

pub(crate) const ROOT: &str = "root CA";
pub(crate) const CLIENTS: &str = "clients CA";
pub(crate) const SERVICES: &str = "services CA";

/// The root, the two issuing CAs and their revocation lists.
#[derive(Debug)]
pub struct Authority {
    trust_domain: TrustDomain,
    root: Issuer,
    clients: Issuer,
    services: Issuer,
    crls: Crls,
}

/// The current revocation list of each CA.
#[derive(Debug)]
pub(crate) struct Crls {
    pub(crate) root: RevocationList,
    pub(crate) clients: RevocationList,
    pub(crate) services: RevocationList,
}

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
    /// Makes new keys, CAs and empty revocation lists, in memory.
    pub fn create(trust_domain: TrustDomain) -> Result<Self, IssueError> {
        Self::create_at(trust_domain, OffsetDateTime::now_utc())
    }

    /// As [`Authority::create`] would have done at `now`.
    pub fn create_at(trust_domain: TrustDomain, now: OffsetDateTime) -> Result<Self, IssueError> {
        let not_before = now - BACKDATED;
        let issuing = |title, common_name| NewCa {
            title,
            common_name,
            not_before,
            not_after: now + ISSUING_VALIDITY,
            path_length: Some(0),
        };
        let root = NewCa {
            title: ROOT,
            common_name: "Portcullis Root CA",
            not_before,
            not_after: now + ROOT_VALIDITY,
            path_length: None,
        }
        .self_signed()?;
        let clients = root.sign_ca(&issuing(CLIENTS, "Portcullis Clients CA"))?;
        let services = root.sign_ca(&issuing(SERVICES, "Portcullis Services CA"))?;
        let crls = Crls {
            root: root.sign_crl(1, not_before, now + ROOT_CRL_VALIDITY, &[])?,
            clients: clients.sign_crl(1, not_before, now + ISSUING_CRL_VALIDITY, &[])?,
            services: services.sign_crl(1, not_before, now + ISSUING_CRL_VALIDITY, &[])?,
        };
        Ok(Self { trust_domain, root, clients, services, crls })
    }

    pub(crate) fn from_parts(
        trust_domain: TrustDomain,
        [root, clients, services]: [Issuer; 3],
        crls: Crls,
    ) -> Self {
        Self { trust_domain, root, clients, services, crls }
    }

    /// Issues a certificate to a client: CN = `name`, OU = domain, clientAuth.
    pub fn issue_client(&self, name: &Name, request: &ClientRequest) -> Result<Issued, IssueError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if request.domain.is_empty() || request.domain.len() > 64 || !request.domain.bytes().all(legal) {
            return Err(IssueError::Domain);
        }
        let leaf =
            self.clients.sign(&within(&self.clients, request.days, self.client_leaf(name, request))?)?;
        Ok(self.issued(Workload::Client(name.clone()), Some(request.domain.clone()), leaf))
    }

    /// Issues a certificate to a service: its role is in the SPIFFE URI, its hosts are the names it is called by.
    pub fn issue_service(
        &self,
        role: Role,
        name: &Name,
        request: &ServiceRequest,
    ) -> Result<Issued, IssueError> {
        if request.hosts.is_empty() && serves(role) {
            return Err(IssueError::NoHost(role));
        }
        let leaf = self.services.sign(&within(
            &self.services,
            request.days,
            self.service_leaf(role, name, request),
        )?)?;
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

    /// Names the holder of a leaf, so that it can be saved and registered like any other.
    #[must_use]
    pub fn issued(&self, holder: Workload, domain: Option<String>, leaf: crate::Leaf) -> Issued {
        Issued { holder, domain, leaf, root_pem: self.root.certificate_pem().to_owned() }
    }

    /// The first part of every SPIFFE id.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root: what clients pass to `--cacert`. Its key may be kept elsewhere.
    #[must_use]
    pub fn root(&self) -> &Issuer {
        &self.root
    }

    /// The issuing CA for clients: what the proxy's client door trusts.
    #[must_use]
    pub fn clients(&self) -> &Issuer {
        &self.clients
    }

    /// The issuing CA for services: what the main server's doors trust.
    #[must_use]
    pub fn services(&self) -> &Issuer {
        &self.services
    }

    /// Each CA with the place of its list, in the order of [`Authority::crls`].
    pub(crate) fn lists_mut(&mut self) -> [(&Issuer, &mut RevocationList); 3] {
        [
            (&self.root, &mut self.crls.root),
            (&self.clients, &mut self.crls.clients),
            (&self.services, &mut self.crls.services),
        ]
    }

    /// The current revocation lists: of the root, of the clients CA, of the services CA.
    #[must_use]
    pub fn crls(&self) -> [&RevocationList; 3] {
        [&self.crls.root, &self.crls.clients, &self.crls.services]
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
