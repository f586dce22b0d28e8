//! Encryption at rest: what clients wrote is sealed before it reaches the database, its WAL and its backups.
//!
//! In: messages and error texts. Out: AES-256-GCM-SIV under a key of the ring, bound to the row it is in,
//! and keyed hashes where something must be recognised without being read. Refused: opening what was
//! sealed under a key that is not in the ring, or for another row.

mod envelope;
mod ring;
mod ring_file;
mod keyring;
mod message;
mod idempotency;
mod error_text;
mod reseal;

pub use idempotency::SealedKey;
pub use keyring::Keyring;
pub use message::{Payload, SealedMessage};
pub use reseal::NotResealed;
pub use ring_file::{KeyNames, KeyringFault, add_key, key_names, new_keyring, remove_key};

/// The crypto library could not seal; nothing was stored.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("sealing failed: no random numbers, or no current key")]
pub struct SealingFailed;

/// Why something sealed stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its key is not in the ring; it may be put back.
    #[error(
        "sealed under key {0:?}, which is not in the key ring: put it back, and the next attempt opens it"
    )]
    UnknownKey(String),
    /// Not what was sealed for this row.
    #[error("does not open: it was changed, or it belongs to another row, or its key was replaced")]
    Tampered,
    /// It opens, and what it holds is not of our shape.
    #[error("opens, but does not hold a message of a known shape")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{
        identity::Fingerprint,
        wire::submit::{IdempotencyKey, SubmittedMessage},
    };
    use uuid::Uuid;

    fn ring() -> Keyring {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyring.toml");
        new_keyring(&file).unwrap();
        Keyring::load(&file).unwrap()
    }

    fn message(body: &str, routing_key: Option<&str>) -> SubmittedMessage {
        SubmittedMessage {
            message_id: Uuid::now_v7(),
            client_id: "client_001".parse().unwrap(),
            cert_fingerprint: Fingerprint::of_der(b""),
            request_id: Uuid::now_v7(),
            traceparent: None,
            sender_number: "+1234567890".to_owned(),
            message_body: body.to_owned(),
            metadata: None,
            routing_key: routing_key.map(str::to_owned),
            idempotency_key: None,
        }
    }

    #[test]
    fn a_sealed_message_opens_for_its_own_row_only() {
        let (ring, message) = (ring(), message("hello", None));
        let (id, client) = (message.message_id, message.client_id.as_str());
        let sealed = ring.seal_message(&message).unwrap();
        let key_id = sealed.key_id.as_str();
        let open = |id, client, key, bytes| ring.open_message(id, client, key, bytes).map(|p| p.message_body);
        assert_eq!(open(id, client, key_id, sealed.sealed.clone()), Ok("hello".to_owned()));
        let other_id = open(Uuid::now_v7(), client, key_id, sealed.sealed.clone());
        assert_eq!(other_id, Err(Unreadable::Tampered));
        assert_eq!(open(id, "client_002", key_id, sealed.sealed.clone()), Err(Unreadable::Tampered));
        let lost = open(id, client, "k9", sealed.sealed.clone());
        assert_eq!(lost, Err(Unreadable::UnknownKey("k9".to_owned())));
        for position in [0, 12, sealed.sealed.len() - 1] {
            let mut changed = sealed.sealed.clone();
            changed[position] ^= 1;
            assert_eq!(open(id, client, key_id, changed), Err(Unreadable::Tampered), "{position}");
        }
        assert_eq!(open(id, client, key_id, vec![1, 2, 3]), Err(Unreadable::Tampered));
    }

    #[test]
    fn equal_messages_are_recognised_and_look_different() {
        let (ring, first) = (ring(), message("hello", None));
        let second = SubmittedMessage { message_id: Uuid::now_v7(), ..first.clone() };
        let (one, two) = (ring.seal_message(&first).unwrap(), ring.seal_message(&second).unwrap());
        assert_eq!((one.payload_hash, one.sender_index), (two.payload_hash, two.sender_index));
        assert_ne!(one.sealed, two.sealed);
        assert_ne!(one.payload_hash, one.sender_index);
        for other in [message("hellp", None), message("hello", Some("")), message("hello", Some("a"))] {
            assert_ne!(ring.seal_message(&other).unwrap().payload_hash, one.payload_hash);
        }
    }

    #[test]
    fn a_key_is_recognised_for_its_client_its_place_and_its_payload_only() {
        let (ring, mut first) = (ring(), message("hello", None));
        let seal = |message: &SubmittedMessage| {
            ring.seal_key(message, &ring.seal_message(message).unwrap().payload_hash)
        };
        assert_eq!(seal(&first), None);
        first.idempotency_key = Some(IdempotencyKey { key: "k".into(), index: None, batch: None });
        let sealed = seal(&first).unwrap();
        let with = |change: &dyn Fn(&mut SubmittedMessage)| {
            let mut other = SubmittedMessage { message_id: Uuid::now_v7(), ..first.clone() };
            change(&mut other);
            let other = seal(&other).unwrap();
            (other.key_hash == sealed.key_hash, other.fingerprint == sealed.fingerprint)
        };
        let own = |change: fn(&mut IdempotencyKey)| {
            with(&|message| message.idempotency_key.as_mut().into_iter().for_each(change))
        };
        assert_eq!(with(&|_| ()), (true, true));
        assert_eq!(with(&|message| message.message_body = "hellp".into()), (true, false));
        assert_eq!(with(&|message| message.client_id = "client_002".parse().unwrap()), (false, true));
        assert_eq!(own(|key| key.key = "l".into()), (false, true));
        assert_eq!(own(|key| key.index = Some(1)), (false, true));
        assert_eq!(own(|key| key.batch = Some("ab".into())), (true, false));
    }

    #[test]
    fn an_error_text_opens_for_its_own_job_only() {
        let (ring, job) = (ring(), Uuid::now_v7());
        let (key_id, sealed) = ring.seal_error(job, &"é".repeat(4096)).unwrap();
        assert_eq!(ring.open_error(job, &key_id, sealed.clone()).map(|text| text.len()), Ok(4096));
        assert_eq!(ring.open_error(Uuid::now_v7(), &key_id, sealed), Err(Unreadable::Tampered));
    }
}
