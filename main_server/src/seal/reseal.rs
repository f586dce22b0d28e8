//! Sealing anew what was sealed under an earlier key, bound to the same row.
//!
//! In: what a row holds. Out: the same text under another key of the ring, of the same length. Refused: what does not
//! open; it stays as it is.

use uuid::Uuid;
use zeroize::Zeroize as _;

use super::{Keyring, SealingFailed, Unreadable, envelope, error_text, message};

/// Why something was not sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum NotResealed {
    /// It does not open.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The crypto library failed.
    #[error(transparent)]
    Sealing(#[from] SealingFailed),
}

impl Keyring {
    /// A message of this id and client, from one key to another.
    pub fn reseal_message(
        &self,
        (message_id, client_id): (Uuid, &str),
        (from, to): (&str, &str),
        sealed: Vec<u8>,
    ) -> Result<Vec<u8>, NotResealed> {
        let about = |key| message::about(message_id, client_id, key);
        self.reseal((from, &about(from)), (to, &about(to)), sealed)
    }

    /// An error text of this job, from one key to another.
    pub fn reseal_error(
        &self,
        job_id: Uuid,
        (from, to): (&str, &str),
        sealed: Vec<u8>,
    ) -> Result<Vec<u8>, NotResealed> {
        let about = |key| error_text::about(job_id, key);
        self.reseal((from, &about(from)), (to, &about(to)), sealed)
    }

    fn reseal(
        &self,
        (from, was_about): (&str, &[u8]),
        (to, is_about): (&str, &[u8]),
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, NotResealed> {
        let ring = self.ring.load();
        let (from, to) = (ring.key(from)?, ring.key(to)?);
        let plaintext = envelope::open(from, was_about, &mut sealed).ok_or(Unreadable::Tampered)?;
        let resealed = envelope::seal(to, is_about, plaintext);
        plaintext.zeroize();
        Ok(resealed?)
    }
}
