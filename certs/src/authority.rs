//! The whole authority: a root that signs two issuing CAs, which sign everything else.
//!
//! In: who wants a certificate. Out: that certificate, in memory. Refused: a server without a host, a validity
//! that outlives the CA. Clients and services have separate issuing CAs, so that a stolen client key is
//! useless against the main server even on a flat network.

use shared::identity::{Certificate, Workload};
use time::{Duration, OffsetDateTime};

use crate::{
    Ca, IssueError, Issued, Issuer, Leaf, RevocationList, TrustDomain, credentials::Passphrase, issuer::NewCa,
};

mod issuing;

pub use issuing::{ClientRequest, ServiceRequest};

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

/// The root, the two issuing CAs and their revocation lists.
#[derive(Debug)]
pub struct Authority {
    trust_domain: TrustDomain,
    /// In the order of [`Ca::ALL`], like `crls`.
    issuers: [Issuer; 3],
    crls: [RevocationList; 3],
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

    /// Names the holder of a leaf, so that it can be saved and registered like any other.
    #[must_use]
    pub fn issued(&self, holder: Workload, domain: Option<String>, leaf: Leaf) -> Issued {
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
