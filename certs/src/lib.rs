//! The certificate authority: one root, an issuing CA for clients and one for services; and what its clients need.
//!
//! The path of a certificate: a request names its holder ([`ClientRequest`], [`ServiceRequest`]) and its key
//! ([`KeySource`]) → the [`Authority`] makes a [`LeafRequest`] of it → an [`Issuer`] signs a [`Leaf`] → an [`Issued`]
//! certificate is put into the index and, with what its holder needs ([`package`]), into its folder ([`folder`]) → it is
//! registered in the database ([`register`]), or the SQL that would do so is printed ([`statement`]). Later it is looked at
//! ([`survey`], [`verification`]), renewed, or put on its CA's [`RevocationList`].
//!
//! For clients: [`send`] sends messages without curl, and [`doctor`] says why one cannot connect.
//!
//! All signing happens in memory; nothing here serves connections.

pub mod cli;
mod hex;
mod moment;
mod host;
mod trust_domain;
mod private_key;
mod key;
mod leaf;
mod issue_error;
mod issuer;
mod crl;
mod ca;
mod authority;
mod issued;
pub mod package;
mod files;
pub mod folder;
pub mod register;
pub mod statement;
pub mod survey;
pub mod verification;
pub mod credentials;
pub mod client_tls;
mod describe;
pub mod doctor;
pub mod send;

pub use authority::{Authority, ClientRequest, ServiceRequest};
pub use ca::Ca;
pub use crl::{MalformedCrl, RevocationList, Revoked, RevokedReason, name_of_reason, reason_named};
pub use host::{Host, InvalidHost};
pub use issue_error::IssueError;
pub use issued::Issued;
pub use issuer::Issuer;
pub use key::{KeyKind, KeySource};
pub use leaf::{KeyUsage, Leaf, LeafRequest, Purpose};
pub use private_key::PrivateKey;
pub use trust_domain::{InvalidTrustDomain, TrustDomain};
