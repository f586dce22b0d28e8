//! Where a session may be resumed: at the door that began it, until that door's configuration is replaced.
//!
//! Each client here was resumed once before it is expected not to be, so that it surely held a session.

use std::sync::Arc;

use rustls::{
    ClientConfig,
    HandshakeKind::{self, Full, Resumed},
    SupportedProtocolVersion,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use shared::{serve::Limits, tls::Handshake};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    doors::{GET, read_answer},
    support::{OpenDoor, authority, client_config},
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A new client of this door. Every connection with the configuration shares its session cache.
fn client_of(door: &OpenDoor, version: &'static SupportedProtocolVersion) -> ClientConfig {
    client_config(&door.authority, &door.client().leaf, b"http/1.1", &[version])
}

/// Asks and is answered; in TLS 1.3 the ticket for next time comes with the answer.
async fn ask(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(GET).await.unwrap();
    assert!(read_answer(stream).await.starts_with("HTTP/1.1 200"));
}

/// One connection with one request; how the handshake was.
async fn visit(door: &OpenDoor, config: &Arc<ClientConfig>) -> HandshakeKind {
    let mut stream = door.knock_with(config.clone()).await.unwrap();
    ask(&mut stream).await;
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn resumption_is_offered_only_where_it_is_checked_again() {
    for (handshake, second) in [(Handshake::Explain, Resumed), (Handshake::Strict, Full)] {
        for version in VERSIONS {
            let door = OpenDoor::open(handshake, Limits::default()).await;
            let client = Arc::new(client_of(&door, version));
            assert_eq!(visit(&door, &client).await, Full, "{handshake:?} {version:?}");
            assert_eq!(visit(&door, &client).await, second, "{handshake:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_across_a_reload() {
    for version in VERSIONS {
        let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
        let client = Arc::new(client_of(&door, version));
        assert_eq!(visit(&door, &client).await, Full, "{version:?}");
        assert_eq!(visit(&door, &client).await, Resumed, "{version:?}");
        door.reload();
        assert_eq!(visit(&door, &client).await, Full, "reloaded, {version:?}");
        assert_eq!(visit(&door, &client).await, Resumed, "the new configuration's session, {version:?}");
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_at_another_door() {
    let authority = Arc::new(authority());
    let one = OpenDoor::open_of(authority.clone(), Handshake::Explain, Limits::default()).await;
    let other = OpenDoor::open_of(authority, Handshake::Explain, Limits::default()).await;
    for version in VERSIONS {
        // To the client both are `localhost`: it shows each the session it got last, whoever gave it.
        let client = Arc::new(client_of(&one, version));
        for (step, door) in [&one, &other, &one].into_iter().enumerate() {
            assert_eq!(visit(door, &client).await, Full, "step {step}, {version:?}");
            assert_eq!(visit(door, &client).await, Resumed, "step {step}, {version:?}");
        }
    }
}

#[tokio::test]
async fn early_data_is_never_accepted() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut eager = client_of(&door, &TLS13);
    eager.enable_early_data = true;
    let client = Arc::new(eager);
    assert_eq!(visit(&door, &client).await, Full);

    let socket = TcpStream::connect(door.address).await.unwrap();
    let localhost = ServerName::try_from("localhost").unwrap();
    let mut invited = None;
    let connecting = TlsConnector::from(client)
        .connect_with(localhost, socket, |connection| invited = Some(connection.early_data().is_some()));
    let mut stream = connecting.await.unwrap();
    ask(&mut stream).await;
    let connection = stream.get_ref().1;
    assert_eq!(connection.handshake_kind(), Some(Resumed), "there was a ticket to use");
    assert_eq!(invited, Some(false), "the ticket invites early data");
    assert!(!connection.is_early_data_accepted());
}
