//! How connections live and end at a door. Deadlines are short here and waited for, never measured.

use std::{io, time::Duration};

use shared::{config::Span, serve::Limits, tls::Handshake};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{OpenDoor, client_request, expired};

/// Longer than any deadline in here: reaching it means that the door never did what it should.
const NEVER: Duration = Duration::from_secs(30);
pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn short() -> Limits {
    Limits {
        handshake: Span::millis(200),
        head: Span::millis(200),
        idle: Span::millis(200),
        write: Span::millis(200),
        ..Limits::default()
    }
}

/// Reads until the other end closes, however it does.
pub(crate) async fn read_to_close(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let read = timeout(NEVER, stream.read_to_end(&mut text)).await;
    assert!(read.is_ok(), "the door did not close the connection");
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads one answer of a kept-alive connection.
pub(crate) async fn read_answer(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        let byte = timeout(NEVER, stream.read_u8()).await.unwrap().unwrap();
        text.push(byte);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_dropped() {
    let door = OpenDoor::open(Handshake::Explain, short()).await;
    let mut socket = TcpStream::connect(door.address).await.unwrap();
    read_to_close(&mut socket).await;
}

#[tokio::test]
async fn a_client_that_asks_nothing_after_the_handshake_is_closed() {
    let door =
        OpenDoor::open(Handshake::Explain, Limits { head: Span::millis(200), ..Limits::default() }).await;
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let mut stream = door.knock(&door.client().leaf, alpn).await.unwrap();
        read_to_close(&mut stream).await;
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let door =
        OpenDoor::open(Handshake::Explain, Limits { head: Span::millis(200), ..Limits::default() }).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    // On a kept-alive connection as well, whose idle limit is much longer.
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_deadline_but_not_the_idle_one() {
    let limits = Limits { head: Span::millis(100), ..Limits::default() };
    let door = OpenDoor::open(Handshake::Explain, limits).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    let closed = timeout(Duration::from_millis(400), stream.read_u8()).await;
    assert!(closed.is_err(), "closed although idling was allowed: {closed:?}");
    stream.write_all(GET).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 200"));

    let door = OpenDoor::open(Handshake::Explain, short()).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    read_to_close(&mut stream).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_is_read_by_the_sender_every_time() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    for _ in 0..50 {
        let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
        stream
            .write_all(b"POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
            .await
            .unwrap();
        stream.write_all(&"x".repeat(65_536).into_bytes()).await.unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer:?}");
    }
}

#[tokio::test]
async fn closing_a_certificates_connections_leaves_the_others_alone() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let (one, other) = (door.client(), door.client());
    let mut doomed = door.knock(&one.leaf, b"http/1.1").await.unwrap();
    let mut kept = door.knock(&other.leaf, b"http/1.1").await.unwrap();
    for stream in [&mut doomed, &mut kept] {
        stream.write_all(GET).await.unwrap();
        read_answer(stream).await;
    }
    assert_eq!(door.connections.count(), 2);
    assert_eq!(door.connections.close(&one.leaf.fingerprint()), 1);
    read_to_close(&mut doomed).await;
    kept.write_all(GET).await.unwrap();
    read_answer(&mut kept).await;
}

#[tokio::test]
async fn a_connection_that_is_closed_before_its_first_request_still_gets_it_answered() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let limits = Limits { head: Span::seconds(2), ..Limits::default() };
        let door = OpenDoor::open(Handshake::Explain, limits).await;
        let mut silent = door.knock(&door.client().leaf, alpn).await.unwrap();
        let mut asking = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
        while door.connections.count() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(door.connections.close_where(|_| true), 2);
        asking.write_all(GET).await.unwrap();
        assert!(read_answer(&mut asking).await.starts_with("HTTP/1.1 200"));
        // Neither of them stays.
        read_to_close(&mut asking).await;
        read_to_close(&mut silent).await;
    }
}

#[tokio::test]
async fn a_soft_stop_ends_idle_connections_and_leaves_no_task() {
    let door =
        OpenDoor::open(Handshake::Explain, Limits { linger: Span::millis(100), ..Limits::default() }).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    let (closed, ()) = tokio::join!(read_to_close(&mut stream), door.shutdown.drained(NEVER));
    assert_eq!(closed, "");
    assert_eq!(door.connections.count(), 0);
}

#[tokio::test]
async fn a_refused_peer_gets_to_read_its_alert() {
    for _ in 0..20 {
        let door = OpenDoor::open(Handshake::Strict, Limits::default()).await;
        let request = expired(client_request(&door.authority));
        let leaf = door.authority.clients().sign(&request).unwrap();
        let error = ask(&door, &leaf).await.unwrap_err();
        let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let expected = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        assert_eq!(alert, Some(&expected), "{error:?}");
    }
}

/// A request, and its answer or whatever ended it: in TLS 1.3 an alert comes with the first read.
async fn ask(door: &OpenDoor, leaf: &certs::Leaf) -> io::Result<Vec<u8>> {
    let mut stream = door.knock(leaf, b"http/1.1").await?;
    stream.write_all(GET).await?;
    let mut first = vec![0; 512];
    let read = stream.read(&mut first).await?;
    first.truncate(read);
    Ok(first)
}

/// HTTP/2, by hand (RFC 9113): the preface, no settings, and `GET /` as stream 1.
const H2_GET: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x0e\x01\x05\x00\x00\x00\x01\x82\x87\x84\x41\x09localhost";

#[tokio::test]
async fn an_http_2_peer_that_does_not_answer_the_goodbye_is_closed_all_the_same() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let client = door.client();
    let mut stream = door.knock(&client.leaf, b"h2").await.unwrap();
    stream.write_all(H2_GET).await.unwrap();
    read_answer(&mut stream).await;
    assert_eq!(door.connections.close(&client.leaf.fingerprint()), 1);
    let goodbye = timeout(NEVER, async {
        let mut seen = Vec::new();
        // GOAWAY is frame type 7; it may come with others.
        while !seen.windows(4).any(|frame| frame == [7, 0, 0, 0]) {
            seen.push(stream.read_u8().await?);
        }
        io::Result::Ok(())
    });
    assert!(goodbye.await.is_ok_and(|said| said.is_ok()), "no GOAWAY");
    read_to_close(&mut stream).await;
}
