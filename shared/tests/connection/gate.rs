//! What a strict door asks within the handshake: about whom, and what an answer can do.

use std::sync::{Arc, Mutex};

use certs::Leaf;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, SignatureScheme,
    client::ResolvesClientCert,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use shared::{
    identity::Fingerprint,
    serve::Limits,
    tls::{Gate, Handshake, provider},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    doors::GET,
    support::{OpenDoor, client_config, client_request, expired, not_yet_valid},
};

type Asked = Arc<Mutex<Vec<Fingerprint>>>;

/// A door with a gate that answers this, and about whom it was asked.
async fn guarded(answer: Result<(), CertificateError>) -> (OpenDoor, Asked) {
    let door = OpenDoor::open(Handshake::Strict, Limits::default()).await;
    let asked = Asked::default();
    let noted = asked.clone();
    door.guard(Gate::new(move |peer| {
        noted.lock().unwrap().push(peer.certificate.fingerprint);
        answer.clone()
    }));
    (door, asked)
}

/// The alert that a request with this configuration meets; none if it is answered.
async fn alert(door: &OpenDoor, config: ClientConfig) -> Option<AlertDescription> {
    let asked = async {
        let mut stream = door.knock_with(Arc::new(config)).await?;
        stream.write_all(GET).await?;
        stream.read_u8().await
    };
    let error = asked.await.err()?;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => panic!("no alert: {error:?}"),
    }
}

/// Shows a chain with a key that is not its own.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl Impostor {
    fn of(victim: &Leaf, own: &Leaf) -> Self {
        let key = provider().key_provider.load_private_key(own.key().der().unwrap()).unwrap();
        Self(Arc::new(CertifiedKey::new(victim.chain().to_vec(), key)))
    }
}

impl ResolvesClientCert for Impostor {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_gate_is_asked_about_a_peer_that_holds_its_key_and_about_nobody_else() {
    for version in [&TLS12, &TLS13] {
        let (door, asked) = guarded(Err(CertificateError::Revoked)).await;
        let (holder, thief) = (door.client().leaf, door.client().leaf);
        let config = || client_config(&door.authority, &holder, b"http/1.1", &[version]);
        let mut forged = config();
        forged.client_auth_cert_resolver = Arc::new(Impostor::of(&holder, &thief));
        assert_eq!(alert(&door, forged).await, Some(AlertDescription::DecryptError), "{version:?}");
        assert_eq!(*asked.lock().unwrap(), [], "{version:?}");
        assert_eq!(alert(&door, config()).await, Some(AlertDescription::CertificateRevoked), "{version:?}");
        assert_eq!(*asked.lock().unwrap(), [holder.fingerprint()], "{version:?}");
    }
}

#[tokio::test]
async fn a_gate_hears_of_leaves_outside_their_validity_and_cannot_admit_them() {
    for version in [&TLS12, &TLS13] {
        let (door, asked) = guarded(Ok(())).await;
        let sign = |distort: fn(certs::LeafRequest) -> certs::LeafRequest| {
            door.authority.clients().sign(&distort(client_request(&door.authority))).unwrap()
        };
        for (leaf, expected) in [
            (sign(expired), Some(AlertDescription::CertificateExpired)),
            (sign(not_yet_valid), Some(AlertDescription::CertificateExpired)),
            (sign(|request| request), None),
        ] {
            let config = client_config(&door.authority, &leaf, b"http/1.1", &[version]);
            assert_eq!(alert(&door, config).await, expected, "{version:?}");
            assert_eq!(asked.lock().unwrap().pop(), Some(leaf.fingerprint()), "{version:?}");
        }
    }
}
