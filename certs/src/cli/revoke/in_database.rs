//! The row of whoever is revoked, in the transaction of the list.

use shared::identity::Workload;
use sqlx::PgConnection;

use super::{Revocation, Target};
use crate::register::{RegisterError, Revoked, revoke_certificate, revoke_client, revoke_service};

/// `None`: nobody of that name, or with that certificate, is registered.
pub(super) async fn revoke(
    connection: &mut PgConnection,
    target: &Target,
    revocation: &Revocation,
) -> Result<Option<Revoked>, RegisterError> {
    let (reason, comment) = (revocation.reason.as_str(), revocation.comment.as_deref());
    match target {
        Target::Holder(Workload::Client(name)) => {
            revoke_client(connection, name.as_str(), reason, comment).await
        }
        Target::Holder(Workload::Service(role, name)) => {
            revoke_service(connection, *role, name, reason, comment).await
        }
        Target::Certificate { fingerprint, known } => match known.as_ref().map(|known| &known.holder) {
            Some(Workload::Service(role, name)) if known.as_ref().is_some_and(|known| known.current) => {
                revoke_service(connection, *role, name, reason, comment).await
            }
            // A former one of a service is ended by the list alone.
            Some(Workload::Service(..)) => Ok(None),
            _ => revoke_certificate(connection, fingerprint, reason, comment).await,
        },
    }
}
