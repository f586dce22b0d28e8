//! Sealing what a sink said about a failed delivery: it may quote the message.

use uuid::Uuid;
use zeroize::Zeroize as _;

use super::{Keyring, SealingFailed, Unreadable, envelope};

/// Longer errors are cut: they are for a person to read.
const MAX_BYTES: usize = 4096;

impl Keyring {
    /// The key id and the sealed text.
    pub fn seal_error(&self, job_id: Uuid, error: &str) -> Result<(String, Vec<u8>), SealingFailed> {
        let ring = self.ring.load();
        let key_id = ring.current.as_str();
        let key = ring.keys.get(&ring.current).ok_or(SealingFailed)?;
        let text = &error[..error.floor_char_boundary(MAX_BYTES)];
        Ok((key_id.to_owned(), envelope::seal(key, &about(job_id, key_id), text.as_bytes())?))
    }

    /// Opens an error text; `job_id` is that of its row.
    pub fn open_error(&self, job_id: Uuid, key_id: &str, mut sealed: Vec<u8>) -> Result<String, Unreadable> {
        let (ring, context) = (self.ring.load(), about(job_id, key_id));
        let plaintext =
            envelope::open(ring.key(key_id)?, &context, &mut sealed).ok_or(Unreadable::Tampered)?;
        let text = std::str::from_utf8(plaintext).map(str::to_owned).map_err(|_| Unreadable::Malformed);
        plaintext.zeroize();
        text
    }
}

pub(super) fn about(job_id: Uuid, key_id: &str) -> Vec<u8> {
    envelope::context(&[b"portcullis error v1", job_id.as_bytes(), key_id.as_bytes()])
}
