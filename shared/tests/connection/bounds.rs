//! Every bound of a door, reached: what the peer sees of it, that it is counted, and that others go on.

use std::time::Duration;

use shared::{
    config::{ByteSize, Span},
    serve::Limits,
    tls::Handshake,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::{
    doors::{GET, read_answer, read_to_close},
    support::OpenDoor,
};

const NEVER: Duration = Duration::from_secs(30);

async fn open(limits: Limits) -> OpenDoor {
    OpenDoor::open(Handshake::Explain, limits).await
}

/// A connection on which one request was answered, and so certainly counted.
pub(crate) async fn used(door: &OpenDoor) -> TlsStream<TcpStream> {
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    stream
}

/// Everything up to the end of the connection, of which one answer is expected.
async fn last_answer(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read_to_close(stream).await
}

#[tokio::test]
async fn a_connection_too_many_is_closed_when_it_is_accepted_and_a_place_that_is_free_again_is_given() {
    for (limits, word) in [
        (Limits { connections: 2, ..Limits::default() }, "connections"),
        (Limits { connections_per_ip: 2, ..Limits::default() }, "connections_per_ip"),
    ] {
        let linger = Span::millis(1);
        let door = open(Limits { linger, ..limits }).await;
        let (first, mut second) = (used(&door).await, used(&door).await);
        let mut refused = TcpStream::connect(door.address).await.unwrap();
        assert_eq!(read_to_close(&mut refused).await, "", "{word}");
        assert_eq!(door.reached(word), 1);
        drop(first);
        let freed = async {
            while door.knock(&door.client().leaf, b"http/1.1").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(NEVER, freed).await.unwrap();
        second.write_all(GET).await.unwrap();
        read_answer(&mut second).await;
    }
}

#[tokio::test]
async fn a_certificate_with_too_many_connections_is_told_so_and_others_are_let_in() {
    let door = open(Limits { connections_per_client: 2, ..Limits::default() }).await;
    let (one, other) = (door.client(), door.client());
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = door.knock(&one.leaf, b"http/1.1").await.unwrap();
        stream.write_all(GET).await.unwrap();
        read_answer(&mut stream).await;
        open.push(stream);
    }
    let mut refused = door.knock(&one.leaf, b"http/1.1").await.unwrap();
    let answer = last_answer(&mut refused, GET).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("too_many_connections"), "{answer}");
    assert_eq!(door.reached("connections_per_client"), 1);
    let mut admitted = door.knock(&other.leaf, b"http/1.1").await.unwrap();
    admitted.write_all(GET).await.unwrap();
    read_answer(&mut admitted).await;
}

#[tokio::test]
async fn silent_handshakes_make_room_for_one_that_speaks() {
    let door = open(Limits { handshakes: 2, ..Limits::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(door.address).await.unwrap());
    }
    used(&door).await;
    for mut dropped in silent.drain(..3) {
        read_to_close(&mut dropped).await;
    }
    assert!(door.reached("handshakes") >= 3);
    assert!(door.failed("crowded_out") >= 3);
}

#[tokio::test]
async fn the_last_request_of_a_connection_is_answered_and_told_so() {
    for (limits, word, before) in [
        (Limits { requests: 3, ..Limits::default() }, "requests", 2),
        (Limits { age: Span(Duration::from_nanos(1)), ..Limits::default() }, "age", 0),
    ] {
        let door = open(limits).await;
        let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
        for _ in 0..before {
            stream.write_all(GET).await.unwrap();
            assert!(!read_answer(&mut stream).await.contains("connection: close"), "{word}");
        }
        let last = last_answer(&mut stream, GET).await;
        assert!(last.starts_with("HTTP/1.1 200") && last.ends_with("hello"), "{word}: {last}");
        assert!(last.contains("connection: close"), "{word}: {last}");
        assert_eq!(door.reached(word), 1);
    }
}

/// Sends a body of 1000 bytes in such pieces, each after a pause, until it is answered; answers the status line.
async fn answer_to_pieces(door: &OpenDoor, piece: usize) -> String {
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    let post = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(post).await.unwrap();
    let mut answer = vec![0; 1024];
    for _ in 0..1000 / piece {
        stream.write_all(&vec![b'x'; piece]).await.unwrap();
        stream.flush().await.unwrap();
        if let Ok(read) = timeout(Duration::from_millis(400), stream.read(&mut answer)).await {
            answer.truncate(read.unwrap());
            return String::from_utf8(answer).unwrap();
        }
    }
    let read = timeout(NEVER, stream.read(&mut answer)).await.unwrap().unwrap();
    answer.truncate(read);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_pauses_is_read_and_one_that_trickles_is_not() {
    // its pauses are longer than 3 s in all, and each piece of 100 bytes gives a second back
    let limits = Limits { body_pause: Span::seconds(3), least_rate: ByteSize(100), ..Limits::default() };
    let door = open(limits).await;
    let answer = answer_to_pieces(&door, 100).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("1000"), "{answer}");
    let answer = answer_to_pieces(&door, 1).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    assert_eq!(door.reached("body_rate"), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends_the_connection() {
    let door = open(Limits { write: Span::millis(200), ..Limits::default() }).await;
    let mut stream = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let ended = async {
        while door.connections.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(NEVER, stream.read_u8()).await.unwrap().unwrap();
    timeout(NEVER, ended).await.unwrap();
    assert_eq!(door.reached("write"), 1);
}

#[tokio::test]
async fn a_request_that_there_is_no_memory_for_is_refused_and_its_memory_is_given_back() {
    let door = open(Limits { memory: ByteSize::kib(1024), ..Limits::default() }).await;
    let client = door.client();
    let ask = async |bytes: usize| {
        let mut stream = door.knock(&client.leaf, b"http/1.1").await.unwrap();
        let head = format!("POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // it may be answered before it is all sent
        let _ = stream.write_all(&vec![b'x'; bytes]).await;
        let mut answer = vec![0; 2048];
        let read = timeout(NEVER, stream.read(&mut answer)).await.unwrap().unwrap();
        answer.truncate(read);
        String::from_utf8(answer).unwrap()
    };
    for _ in 0..3 {
        // one certificate may have half of it
        let answer = ask(600 * 1024).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("overloaded"), "{answer}");
        assert!(ask(400 * 1024).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(door.reached("memory"), 3);
}
