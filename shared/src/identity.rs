//! Who a certificate says it is: its fingerprint, its names, its role.
//!
//! In: DER certificates and the texts that operators write. Out: values that are valid by type.
//! Refused: anything that is not exactly of the documented shape. What an identity *may do* is
//! not decided here.

mod certificate;
mod fingerprint;
mod name;
mod spiffe;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod claims;

pub use certificate::{Certificate, Judged, MalformedCertificate, PathLength, PublicKeyKind, Validity};
pub use fingerprint::{Fingerprint, InvalidFingerprint};
pub use name::{InvalidName, Name};
pub use spiffe::{InvalidSpiffeId, Role, SpiffeId, Workload};
