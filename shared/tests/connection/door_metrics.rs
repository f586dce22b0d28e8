//! What a door counts of its connections and handshakes, whatever becomes of them.

use std::{sync::Arc, time::Duration};

use rustls::version::TLS13;
use shared::{serve::Limits, tls::Handshake};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    doors::{GET, read_answer, read_to_close},
    support::{OpenDoor, authority, client_config, client_request, expired},
};

const NEVER: Duration = Duration::from_secs(30);
const OPEN: &str = "portcullis_connections{door=\"test\"}";

fn shaken(door: &OpenDoor, kind: &str) -> u64 {
    door.counted(&format!("portcullis_handshake_seconds_count{{door=\"test\",kind=\"{kind}\"}}"))
}

fn failed(door: &OpenDoor, reason: &str, alert: &str) -> u64 {
    let labels = format!("door=\"test\",reason=\"{reason}\",alert=\"{alert}\"");
    door.counted(&format!("portcullis_handshake_failures_total{{{labels}}}"))
}

#[tokio::test]
async fn a_connection_whose_handler_panics_is_not_open_for_ever() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    assert_eq!(door.counted(OPEN), 1);
    stream.write_all(b"GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // without a farewell, and so perhaps with an error
    let mut rest = Vec::new();
    let _however = timeout(NEVER, stream.read_to_end(&mut rest)).await.expect("it is closed");
    let gone = async {
        while door.counted(OPEN) > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(NEVER, gone).await.is_ok(), "still {}", door.counted(OPEN));
}

#[tokio::test]
async fn each_handshake_is_timed_by_its_kind() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let client = Arc::new(client_config(&door.authority, &door.client().leaf, b"http/1.1", &[&TLS13]));
    for expected in [[1, 0, 0], [1, 1, 0]] {
        let mut stream = door.knock_with(client.clone()).await.unwrap();
        stream.write_all(GET).await.unwrap();
        read_answer(&mut stream).await;
        assert_eq!(["full", "resumed", "failed"].map(|kind| shaken(&door, kind)), expected);
    }
    let stranger =
        authority().issue_client(&crate::support::name("c"), &certs::ClientRequest::default()).unwrap();
    let mut stream = door.knock(&stranger.leaf, b"http/1.1").await.unwrap();
    stream.read_u8().await.unwrap_err();
    assert_eq!(shaken(&door, "failed"), 1);
}

#[tokio::test]
async fn a_failed_handshake_is_counted_under_the_alert_that_its_peer_met() {
    let door = OpenDoor::open(Handshake::Strict, Limits::default()).await;
    let client = door.client().leaf;
    let ended = door.authority.clients().sign(&expired(client_request(&door.authority))).unwrap();
    let mut broken = client_config(&door.authority, &client, b"http/1.1", &[&TLS13]);
    let chain = vec![client.chain()[0].clone(), vec![0x30, 0].into()];
    broken = with_chain(broken, chain, &client);
    let foreign = client_config(&door.authority, &client, b"smtp", &[&TLS13]);
    for (config, reason, alert) in [
        (
            client_config(&door.authority, &ended, b"http/1.1", &[&TLS13]),
            "certificate_refused",
            "certificate_expired",
        ),
        (broken, "chain_malformed", "bad_certificate"),
        (foreign, "tls", "no_application_protocol"),
    ] {
        let asked = async { door.knock_with(Arc::new(config)).await?.read_u8().await };
        asked.await.unwrap_err();
        assert_eq!(failed(&door, reason, alert), 1, "{reason} {alert}");
    }
    assert_eq!(door.reached("chain"), 1);
    let mut plain = tokio::net::TcpStream::connect(door.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_to_close(&mut plain).await;
    assert_eq!(failed(&door, "tls", "decode_error"), 1);
}

/// The same client with another chain, which nobody would issue.
fn with_chain(
    mut config: rustls::ClientConfig,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    leaf: &certs::Leaf,
) -> rustls::ClientConfig {
    let key = shared::tls::provider().key_provider.load_private_key(leaf.key().der().unwrap()).unwrap();
    let shown = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key));
    config.client_auth_cert_resolver = Arc::new(shown);
    config
}
