//! One sealed text: nonce ‖ AES-256-GCM-SIV ciphertext ‖ tag (RFC 8452).
//!
//! Why SIV: with random 96-bit nonces, plain GCM reaches its safe number of messages under one key within
//! days at our rate, and one repeated nonce then gives the authentication key away. A repeated nonce under
//! SIV shows only whether two texts are equal.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use super::SealingFailed;

/// A key of the ring, ready for use.
pub(super) fn key(bytes: &[u8; 32]) -> Result<RandomizedNonceKey, SealingFailed> {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes).map_err(|_| SealingFailed)
}

/// Seals `plaintext` where it lies, so that no copy of it stays behind.
pub(super) fn seal(
    key: &RandomizedNonceKey,
    context: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealingFailed> {
    let mut sealed = Vec::with_capacity(NONCE_LEN + plaintext.len() + AES_256_GCM_SIV.tag_len());
    sealed.extend_from_slice(&[0; NONCE_LEN]);
    sealed.extend_from_slice(plaintext);
    let (nonce, tag) = key
        .seal_in_place_separate_tag(Aad::from(context), &mut sealed[NONCE_LEN..])
        .map_err(|_| SealingFailed)?;
    sealed[..NONCE_LEN].copy_from_slice(nonce.as_ref());
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens what [`seal`] made, where it lies; `None` if the key, the context or a bit of it is another one.
pub(super) fn open<'a>(
    key: &RandomizedNonceKey,
    context: &[u8],
    sealed: &'a mut [u8],
) -> Option<&'a mut [u8]> {
    let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    key.open_in_place(nonce, Aad::from(context), text).ok()
}

/// What a sealed text, or a keyed hash, is about: each part with its length before it, so that no two lists
/// of parts give the same bytes. The first part is a label that keeps the uses of one key apart.
pub(super) fn context(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
