//! Registering certificates and revocation lists in the database.
//!
//! In: what was issued. Out: a row that lets its holder in. Refused: a name that has another certificate, since
//! replacing it would shut out whoever holds that one.

use shared::identity::{Fingerprint, Workload};
use sqlx::PgConnection;

use crate::{Issued, RevocationList};

mod client;
mod crls;
mod renewal;
mod revocation;
mod service;
mod standing;

pub use crls::crl_in_force;
pub use renewal::renewed;
pub use revocation::{Propagation, Revoked, revoke_certificate, revoke_client};
pub use service::revoke_service;
pub use standing::{Standing, standings};

/// What the database says of a certificate after [`issued`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// It was registered now, as active.
    Now,
    /// This very certificate was registered before; its status was left alone.
    Before,
}

/// Why the database took nothing.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name belongs to another certificate.
    #[error(
        "{name} is registered with another certificate ({fingerprint}, {status}); nothing was changed. \
             choose another name, or delete that row first if its holder is to be shut out"
    )]
    AnotherCertificate {
        /// `client NAME` or `ROLE NAME`.
        name: String,
        /// The certificate registered under this name.
        fingerprint: String,
        /// Its status.
        status: String,
    },
    /// The certificate belongs to another name.
    #[error("the certificate {0} is registered under another name; nothing was changed")]
    AnotherName(Fingerprint),
    /// A rule of the database's, in its own words.
    #[error("{0}")]
    Rule(String, #[source] sqlx::Error),
    /// The schema is not there.
    #[error("the database has no client table: run portcullis-server migrate first")]
    NotMigrated(#[source] sqlx::Error),
    /// The user may not.
    #[error("the database user may not register certificates: grant it the role portcullis_operator")]
    NotPermitted(#[source] sqlx::Error),
    /// The database cannot be reached, or refused.
    #[error("the database refused")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for RegisterError {
    /// By SQLSTATE (the manual of Postgres, appendix A).
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
            Some("42P01") => Self::NotMigrated(error),
            Some("42501") => Self::NotPermitted(error),
            // raised by our own functions and triggers: a check, a unique value, no such row, a bad argument
            Some("23514" | "23505" | "P0002" | "02000" | "22023") => {
                let text = error.as_database_error().map(|error| error.message().to_owned());
                Self::Rule(text.unwrap_or_default(), error)
            }
            _ => Self::Database(error),
        }
    }
}

/// Registers a certificate as active, in the table of clients or of services.
pub async fn issued(connection: &mut PgConnection, issued: &Issued) -> Result<Registered, RegisterError> {
    let (inserted, existing) = match &issued.holder {
        Workload::Client(name) => client::insert(connection, name, issued).await?,
        Workload::Service(role, name) => service::insert(connection, *role, name, issued).await?,
    };
    match existing {
        _ if inserted => Ok(Registered::Now),
        Some((fingerprint, _)) if fingerprint == issued.fingerprint().to_string() => Ok(Registered::Before),
        Some((fingerprint, status)) => Err(RegisterError::AnotherCertificate {
            name: match &issued.holder {
                Workload::Client(name) => format!("client {name}"),
                Workload::Service(role, name) => format!("{role} {name}"),
            },
            fingerprint,
            status,
        }),
        None => Err(RegisterError::AnotherName(issued.fingerprint())),
    }
}

/// Puts revocation lists in force. One that is not newer than what the database has changes nothing.
pub async fn crls(connection: &mut PgConnection, crls: &[&RevocationList]) -> Result<(), RegisterError> {
    for crl in crls {
        crls::upsert(connection, crl).await?;
    }
    Ok(())
}

/// Puts one revocation list in force; answers whether it is, or one that is as new or newer is already.
pub async fn crl(connection: &mut PgConnection, crl: &RevocationList) -> Result<bool, RegisterError> {
    Ok(crls::upsert(connection, crl).await?)
}
