//! Sealing a message: its sender number, text and metadata become unreadable, and still recognisable.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::{identity::Name, wire::submit::SubmittedMessage};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Keyring, SealingFailed, Unreadable, envelope};

/// What the database gets to see of a message's content.
#[derive(Debug)]
pub struct SealedMessage {
    /// The key that opens it.
    pub key_id: Name,
    /// Nonce, ciphertext, tag.
    pub sealed: Vec<u8>,
    /// Keyed hash of the sender number, to find messages by it.
    pub sender_index: [u8; 32],
    /// Keyed hash of everything the client sent, to tell a repeated message from another one.
    pub payload_hash: [u8; 32],
}

/// What was sealed.
#[derive(Debug, Deserialize)]
pub struct Payload {
    /// E.164.
    pub sender_number: String,
    /// The text.
    pub message_body: String,
    /// The client's JSON object.
    pub metadata: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Written<'a> {
    sender_number: &'a str,
    message_body: &'a str,
    metadata: Option<&'a RawValue>,
}

impl Keyring {
    /// Seals one message under the current key.
    pub fn seal_message(&self, message: &SubmittedMessage) -> Result<SealedMessage, SealingFailed> {
        let written = Written {
            sender_number: &message.sender_number,
            message_body: &message.message_body,
            metadata: message.metadata.as_deref(),
        };
        let plaintext = Zeroizing::new(serde_json::to_vec(&written).map_err(|_| SealingFailed)?);
        let ring = self.ring.load();
        let key = ring.keys.get(&ring.current).ok_or(SealingFailed)?;
        let context = about(message.message_id, message.client_id.as_str(), ring.current.as_str());
        Ok(SealedMessage {
            key_id: ring.current.clone(),
            sealed: envelope::seal(key, &context, &plaintext)?,
            sender_index: self.sender_index(&message.sender_number),
            payload_hash: self.payload_hash(message),
        })
    }

    /// Opens a message; `message_id` and `client_id` are those of its row.
    pub fn open_message(
        &self,
        message_id: Uuid,
        client_id: &str,
        key_id: &str,
        mut sealed: Vec<u8>,
    ) -> Result<Payload, Unreadable> {
        let (ring, context) = (self.ring.load(), about(message_id, client_id, key_id));
        let plaintext =
            envelope::open(ring.key(key_id)?, &context, &mut sealed).ok_or(Unreadable::Tampered)?;
        let payload = serde_json::from_slice(plaintext).map_err(|_| Unreadable::Malformed);
        plaintext.zeroize();
        payload
    }

    /// The blind index of a sender number.
    #[must_use]
    pub fn sender_index(&self, sender_number: &str) -> [u8; 32] {
        self.keyed_hash(&[b"portcullis sender v1", sender_number.as_bytes()])
    }

    fn payload_hash(&self, message: &SubmittedMessage) -> [u8; 32] {
        let metadata = message.metadata.as_deref().map(RawValue::get);
        self.keyed_hash(&[
            b"portcullis payload v1",
            message.sender_number.as_bytes(),
            message.message_body.as_bytes(),
            // an absent member is not an empty one
            &[u8::from(metadata.is_some()), u8::from(message.routing_key.is_some())],
            metadata.unwrap_or_default().as_bytes(),
            message.routing_key.as_deref().unwrap_or_default().as_bytes(),
        ])
    }

    /// The labels, which come first, keep one key's uses apart.
    pub(super) fn keyed_hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let tag = hmac::sign(&self.blind_index, &Zeroizing::new(envelope::context(parts)));
        let mut hash = [0; 32];
        hash.copy_from_slice(tag.as_ref());
        hash
    }
}

/// Binds a sealed message to its row, so that nobody with access to the database can pass one client's
/// message off as another's. The queue is left out: one message may go to several queues.
pub(super) fn about(message_id: Uuid, client_id: &str, key_id: &str) -> Vec<u8> {
    envelope::context(&[
        b"portcullis message v1",
        message_id.as_bytes(),
        client_id.as_bytes(),
        key_id.as_bytes(),
    ])
}
