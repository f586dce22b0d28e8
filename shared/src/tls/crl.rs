//! Revocation lists (RFC 5280 §5), as one set of serial numbers per issuer.
//!
//! ```text
//! source   the table `crls` (`table`; the process reads it), files and directories (`files`), `https://` (`urls`)
//!   der → list → entries   one list, read strictly
//!   crls → place           verified against its issuer, compared with the one in force, put beside the others
//!     lists                swapped in whole; logs, metrics, /readyz
//! ```
//!
//! In: PEM or DER from any source. Out: whether a peer's certificate, or a CA on its path, is revoked.
//! Refused: every list that is not whole, not signed by the CA it names, partial, or older than the one in
//! force; the last good list stays then. A list's signature is checked once, when it is loaded.

mod config;
mod fault;
mod der;
mod entries;
mod list;
mod number;
mod place;
mod crls;
mod source;
mod lists;
mod authorities;
mod table;
mod files;
mod watch;
mod urls;
mod show;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod claims;

pub use config::{CrlConfig, Missing, Overdue};
pub use crls::{Crls, Standing};
pub use entries::CrlEntry;
pub use fault::CrlFault;
pub use files::Unusable;
pub use lists::RevocationLists;
pub use table::CrlHead;
