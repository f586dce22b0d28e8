//! Connections that were idle for long enough to be put aside: nobody notices, whatever comes next.

use std::time::Duration;

use shared::{config::Span, serve::Limits, tls::Handshake};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::{
    bounds::used,
    doors::{GET, read_answer, read_to_close},
    support::OpenDoor,
};

const NEVER: Duration = Duration::from_secs(30);

const PARKED: &str = "portcullis_connections_parked{door=\"test\"}";
const OPEN: &str = "portcullis_connections{door=\"test\"}";

/// The same, when it was put aside.
async fn parked(door: &OpenDoor) -> TlsStream<TcpStream> {
    let stream = used(door).await;
    until(door, PARKED, 1).await;
    stream
}

/// Waits until a gauge shows this; the only sleep of these tests.
async fn until(door: &OpenDoor, gauge: &str, value: u64) {
    let shown = async {
        while door.counted(gauge) != value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(NEVER, shown).await.unwrap();
}

#[tokio::test]
async fn a_parked_connection_answers_its_next_request_and_is_parked_again() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut stream = parked(&door).await;
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        read_answer(&mut stream).await;
        until(&door, PARKED, 1).await;
    }
    assert_eq!(door.counted(OPEN), 1);
    assert_eq!(door.reached("head") + door.reached("idle"), 0);
}

#[tokio::test]
async fn a_parked_connection_of_a_certificate_that_is_refused_by_now_is_closed_at_once() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut stream = parked(&door).await;
    assert_eq!(door.connections.close_where(shared::serve::Connection::has_been_used), 1);
    // with a close_notify, which is what an end without an error means
    assert_eq!(timeout(NEVER, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_parked_connection_ends_with_the_door() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut stream = parked(&door).await;
    door.shutdown.request();
    assert_eq!(timeout(NEVER, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_parked_connection_is_closed_when_it_has_been_idle_for_too_long() {
    let idle = Span::seconds(2);
    let door = OpenDoor::open(Handshake::Explain, Limits { idle, ..Limits::default() }).await;
    let mut stream = used(&door).await;
    assert_eq!(timeout(NEVER, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    assert_eq!((door.reached("idle"), door.reached("head")), (1, 0));
}

#[tokio::test]
async fn how_long_a_head_may_take_does_not_put_off_what_is_due_to_an_idle_connection() {
    let (head, idle) = (Span::seconds(3600), Span::seconds(2));
    let door = OpenDoor::open(Handshake::Explain, Limits { head, ..Limits::default() }).await;
    let _put_aside = parked(&door).await;
    let door = OpenDoor::open(Handshake::Explain, Limits { head, idle, ..Limits::default() }).await;
    let mut closed = used(&door).await;
    assert_eq!(timeout(NEVER, closed.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_head_that_begins_on_a_parked_connection_and_does_not_end_is_cut_off() {
    let limits = Limits { head: Span::millis(1500), ..Limits::default() };
    let door = OpenDoor::open(Handshake::Explain, limits).await;
    let mut stream = parked(&door).await;
    stream.write_all(&GET[..10]).await.unwrap();
    assert_eq!(timeout(NEVER, read_to_close(&mut stream)).await.unwrap(), "");
    assert_eq!((door.reached("head"), door.reached("idle")), (1, 0));
}

#[tokio::test]
async fn a_request_in_pieces_wakes_a_parked_connection_and_is_answered() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut stream = parked(&door).await;
    for byte in GET {
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    read_answer(&mut stream).await;
}

#[tokio::test]
async fn a_head_that_began_behind_another_request_is_neither_lost_nor_put_aside() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(&[GET, &GET[..10]].concat()).await.unwrap();
    read_answer(&mut stream).await;
    // whoever was answered later has been idle for long enough
    let _other = parked(&door).await;
    stream.write_all(&GET[10..]).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_head_that_began_behind_another_request_and_does_not_end_is_cut_off() {
    let limits = Limits { head: Span::seconds(3), ..Limits::default() };
    let door = OpenDoor::open(Handshake::Explain, limits).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(&[GET, &GET[..10]].concat()).await.unwrap();
    read_answer(&mut stream).await;
    assert_eq!(timeout(NEVER, read_to_close(&mut stream)).await.unwrap(), "");
    assert_eq!((door.reached("head"), door.reached("idle")), (1, 0));
}

#[tokio::test]
async fn a_peer_that_leaves_a_parked_connection_leaves_nothing_behind() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    drop(parked(&door).await);
    until(&door, OPEN, 0).await;
    until(&door, PARKED, 0).await;
}
