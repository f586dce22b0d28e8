//! The whole authority: a root that signs two issuing CAs, which sign everything else.
//!
//! In: who wants a certificate. Out: that certificate, in memory. Refused: a server without a host, a validity
//! that outlives the CA. Clients and services have separate issuing CAs, so that a stolen client key is
//! useless against the main server even on a flat network.

use std::fmt;

use shared::identity::{Certificate, Name, Role, Workload};
use time::{Duration, OffsetDateTime};

use crate::{
    Host, IssueError, Issued, Issuer, KeySource, KeyUsage, LeafRequest, Purpose, RevocationList, TrustDomain,
    credentials::Passphrase, issuer::NewCa,
};

/// How long before the present a certificate begins. The holder uses it at once, and the machine that judges it
/// may be some minutes behind; more would only blur when it was issued.
const BACKDATED: Duration = Duration::minutes(5);

const ROOT_VALIDITY: Duration = Duration::days(3652);
const ISSUING_VALIDITY: Duration = Duration::days(1826);
/// The root is offline, so its list lives long.
const ROOT_CRL_VALIDITY: Duration = Duration::days(365);
const ISSUING_CRL_VALIDITY: Duration = Duration::days(7);

/// A short one is guessed, whatever each guess costs.
const SHORTEST_PASSPHRASE: usize = 8;

const END_OF_TIME: OffsetDateTime = time::PrimitiveDateTime::MAX.assume_utc();

/// One of the three CAs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ca {
    /// Signs the other two; its key should be offline.
    Root,
    /// Issues to clients.
    Clients,
    /// Issues to services.
    Services,
}

impl Ca {
    /// Every CA, the root first.
    pub const ALL: [Self; 3] = [Self::Root, Self::Clients, Self::Services];

    /// The one that issues to this holder.
    #[must_use]
    pub fn of(holder: &Workload) -> Self {
        match holder {
            Workload::Client(_) => Self::Clients,
            Workload::Service(..) => Self::Services,
        }
    }

    /// What messages call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Root => "root CA",
            Self::Clients => "clients CA",
            Self::Services => "services CA",
        }
    }
}

impl fmt::Display for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// The root, the two issuing CAs and their revocation lists.
#[derive(Debug)]
pub struct Authority {
    trust_domain: TrustDomain,
    /// In the order of [`Ca::ALL`], like `crls`.
    issuers: [Issuer; 3],
    crls: [RevocationList; 3],
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
        let issuing = |ca: Ca, common_name| NewCa {
            title: ca.title(),
            common_name,
            not_before,
            not_after: now + ISSUING_VALIDITY,
            path_length: Some(0),
        };
        let root = NewCa {
            title: Ca::Root.title(),
            common_name: "Portcullis Root CA",
            not_before,
            not_after: now + ROOT_VALIDITY,
            path_length: None,
        }
        .self_signed()?;
        let clients = root.sign_ca(&issuing(Ca::Clients, "Portcullis Clients CA"))?;
        let services = root.sign_ca(&issuing(Ca::Services, "Portcullis Services CA"))?;
        let crls = [
            root.sign_crl(1, not_before, now + ROOT_CRL_VALIDITY, &[])?,
            clients.sign_crl(1, not_before, now + ISSUING_CRL_VALIDITY, &[])?,
            services.sign_crl(1, not_before, now + ISSUING_CRL_VALIDITY, &[])?,
        ];
        Ok(Self { trust_domain, issuers: [root, clients, services], crls })
    }

    pub(crate) fn from_parts(
        trust_domain: TrustDomain,
        issuers: [Issuer; 3],
        crls: [RevocationList; 3],
    ) -> Self {
        Self { trust_domain, issuers, crls }
    }

    /// Opens the key of a CA that is under a passphrase; does nothing to one that is not, or is not here.
    pub fn unlock(&mut self, ca: Ca, passphrase: &Passphrase) -> Result<(), IssueError> {
        self.issuers[ca as usize].unlock(passphrase)
    }

    /// Puts every key under a passphrase, to be saved so. Refuses one that is too short to protect anything.
    pub fn lock(&mut self, passphrase: &Passphrase) -> Result<(), IssueError> {
        if passphrase.as_str().chars().count() < SHORTEST_PASSPHRASE {
            return Err(IssueError::ShortPassphrase(SHORTEST_PASSPHRASE));
        }
        self.issuers.iter_mut().try_for_each(|issuer| issuer.lock(passphrase))
    }

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

    /// Names the holder of a leaf, so that it can be saved and registered like any other.
    #[must_use]
    pub fn issued(&self, holder: Workload, domain: Option<String>, leaf: crate::Leaf) -> Issued {
        Issued { holder, domain, leaf, root_pem: self.root().certificate_pem().to_owned() }
    }

    /// The first part of every SPIFFE id.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// One of the CAs.
    #[must_use]
    pub fn issuer(&self, ca: Ca) -> &Issuer {
        &self.issuers[ca as usize]
    }

    /// The root: what clients pass to `--cacert`. Its key may be kept elsewhere.
    #[must_use]
    pub fn root(&self) -> &Issuer {
        self.issuer(Ca::Root)
    }

    /// The issuing CA for clients: what the proxy's client door trusts.
    #[must_use]
    pub fn clients(&self) -> &Issuer {
        self.issuer(Ca::Clients)
    }

    /// The issuing CA for services: what the main server's doors trust.
    #[must_use]
    pub fn services(&self) -> &Issuer {
        self.issuer(Ca::Services)
    }

    /// The CA that issued this certificate, by name and key identifier.
    #[must_use]
    pub fn issuer_of(&self, certificate: &Certificate) -> Option<Ca> {
        Ca::ALL.into_iter().find(|ca| {
            let issuer = self.issuer(*ca).facts();
            issuer.subject == certificate.issuer && issuer.key_id == certificate.issuer_key_id
        })
    }

    /// The current revocation list of a CA.
    #[must_use]
    pub fn crl(&self, ca: Ca) -> &RevocationList {
        &self.crls[ca as usize]
    }

    /// The current revocation lists: of the root, of the clients CA, of the services CA.
    #[must_use]
    pub fn crls(&self) -> [&RevocationList; 3] {
        self.crls.each_ref()
    }

    /// Puts a later list in the place of a CA's current one. One that is not later changes nothing.
    pub(crate) fn take_crl(&mut self, ca: Ca, list: RevocationList) -> bool {
        let place = &mut self.crls[ca as usize];
        let later = list.number > place.number;
        if later {
            *place = list;
        }
        later
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
