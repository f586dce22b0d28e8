//! What the database gets to see of an idempotency key: keyed hashes, for a key may quote a number.

use shared::wire::submit::SubmittedMessage;

use super::Keyring;

/// A key and what was sent under it, recognisable and not readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// Of the key, of this client.
    pub key_hash: [u8; 32],
    /// Of the payload, and of the batch that the key is for as a whole.
    pub fingerprint: [u8; 32],
}

impl Keyring {
    /// The sealed key of a message that has one; `payload_hash` is that of the same message.
    #[must_use]
    pub fn seal_key(&self, message: &SubmittedMessage, payload_hash: &[u8; 32]) -> Option<SealedKey> {
        let own = message.idempotency_key.as_ref()?;
        let index = own.index.map(u32::to_be_bytes);
        Some(SealedKey {
            key_hash: self.keyed_hash(&[
                b"portcullis idempotency key v1",
                message.client_id.as_str().as_bytes(),
                own.key.as_bytes(),
                index.as_ref().map_or(&[], |bytes| bytes.as_slice()),
            ]),
            fingerprint: self.keyed_hash(&[
                b"portcullis idempotency payload v1",
                payload_hash,
                own.batch.as_deref().unwrap_or_default().as_bytes(),
            ]),
        })
    }
}
