//! What one HTTP/2 connection can be made to cost (RFC 9113 §10.5): by the library's bounds and by ours.

use std::time::Duration;

use shared::{config::ByteSize, serve::Limits, tls::Handshake};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::{
    doors::{GET, read_answer},
    support::OpenDoor,
};

const NEVER: Duration = Duration::from_secs(30);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `POST https://localhost/read`, by the static table (RFC 7541, appendix A).
const POST: &[u8] = b"\x83\x87\x44\x05/read\x41\x09localhost";
/// `GET https://localhost/`
const ROOT: &[u8] = b"\x82\x87\x84\x41\x09localhost";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn open_stream(stream: u32) -> Vec<u8> {
    frame(1, END_HEADERS, stream, POST)
}

/// A connection to the door, and how it goes on.
struct Peer {
    stream: TlsStream<TcpStream>,
}

impl Peer {
    async fn knock(door: &OpenDoor) -> Self {
        let mut stream = door.knock(&door.client().leaf, b"h2").await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        Self { stream }
    }

    /// Sends, as far as the other end takes it.
    async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(NEVER, self.stream.write_all(bytes)).await;
        assert!(sent.is_ok(), "it neither takes them nor closes");
    }

    /// The next frame: its kind, its stream, its payload. None at the end.
    async fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        timeout(NEVER, self.stream.read_exact(&mut head)).await.unwrap().ok()?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        let mut payload = vec![0; number(&head[..3]) as usize];
        timeout(NEVER, self.stream.read_exact(&mut payload)).await.unwrap().ok()?;
        Some((head[3], number(&head[5..]), payload))
    }

    /// The frames of this kind up to the end of the connection.
    async fn until_closed(&mut self, kind: u8) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        while let Some((other, _, payload)) = self.frame().await {
            if other == kind {
                seen.push(payload);
            }
        }
        seen
    }

    async fn is_answered(&mut self, stream: u32) -> bool {
        self.send(&frame(1, END_STREAM | END_HEADERS, stream, ROOT)).await;
        while let Some((kind, of, payload)) = self.frame().await {
            if (kind, of) == (0, stream) && payload == b"hello" {
                return true;
            }
        }
        false
    }
}

/// Many of these, each made of its number.
fn many(count: u32, one: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(one).collect()
}

#[tokio::test]
async fn a_flood_of_frames_ends_its_connection() {
    let begun_and_taken_back =
        |n: u32| [open_stream(2 * n + 1), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
    // `te: gzip`, which RFC 9113 §8.2.2 forbids
    let broken = |n: u32| frame(1, END_HEADERS, 2 * n + 1, &[POST, b"\x00\x02te\x04gzip"].concat());
    let continued = [frame(1, 0, 1, POST), many(20, |_| frame(9, 0, 1, b"\x00\x01a\x01b"))].concat();
    let empty = |count| [open_stream(1), many(count, |_| frame(0, 0, 1, &[]))].concat();
    let floods = [
        ("PING", many(30_000, |_| frame(6, 0, 0, &[0; 8])), "idle_frames"),
        ("SETTINGS", many(30_000, |_| frame(4, 0, 0, &[])), "idle_frames"),
        ("PRIORITY", many(30_000, |_| frame(2, 0, 1, &[0, 0, 0, 3, 1])), "idle_frames"),
        ("WINDOW_UPDATE", many(30_000, |_| frame(8, 0, 0, &[0, 0, 0, 1])), "idle_frames"),
        ("an unknown type", many(30_000, |_| frame(0xfa, 0, 0, &[])), "idle_frames"),
        // CVE-2023-44487: of those in one go the library notices; the others count as frames that ask for nothing
        ("rapid resets", many(60, begun_and_taken_back), "http2"),
        // CVE-2024-27316
        ("CONTINUATION", continued, "http2"),
        // CVE-2019-9518
        ("empty DATA", empty(500), "http2"),
        ("broken requests", many(200, broken), "http2"),
    ];
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    for (what, flood, word) in floods {
        let before = door.reached(word);
        let mut peer = Peer::knock(&door).await;
        peer.send(&flood).await;
        peer.until_closed(7).await;
        assert_eq!(door.reached(word), before + 1, "{what}");
    }
    assert!(Peer::knock(&door).await.is_answered(1).await);
}

#[tokio::test]
async fn a_busy_client_that_answers_pings_and_opens_windows_is_left_alone() {
    let door = OpenDoor::open(Handshake::Explain, Limits::default()).await;
    let mut peer = Peer::knock(&door).await;
    let beside = many(3, |_| [frame(6, 1, 0, &[0; 8]), frame(8, 0, 0, &[0, 0, 0, 5])].concat());
    for request in 0..150 {
        peer.send(&beside).await;
        assert!(peer.is_answered(2 * request + 1).await);
    }
}

#[tokio::test]
async fn a_request_too_many_at_once_is_refused_alone() {
    let door = OpenDoor::open(Handshake::Explain, Limits { streams: 4, ..Limits::default() }).await;
    let mut peer = Peer::knock(&door).await;
    peer.send(&many(5, |n| open_stream(2 * n + 1))).await;
    loop {
        let (kind, stream, payload) = peer.frame().await.unwrap();
        if kind == 3 {
            // REFUSED_STREAM
            assert_eq!((stream, payload), (9, vec![0, 0, 0, 7]));
            break;
        }
    }
    peer.send(&frame(0, END_STREAM, 1, b"x")).await;
    assert!(peer.is_answered(11).await);
}

#[tokio::test]
async fn half_sent_requests_hold_no_more_memory_than_there_is_and_leave_some_to_others() {
    let door =
        OpenDoor::open(Handshake::Explain, Limits { memory: ByteSize::kib(1024), ..Limits::default() }).await;
    let mut peer = Peer::knock(&door).await;
    peer.send(&many(20, |n| open_stream(2 * n + 1))).await;
    let mut refused = 0;
    // each costs 8 KiB and the 64 KiB that it may send, and all of one certificate may have half of what there is
    while refused < 13 {
        let (kind, _, payload) = peer.frame().await.unwrap();
        refused += usize::from(kind == 0 && String::from_utf8_lossy(&payload).contains("\"overloaded\""));
    }
    assert_eq!(door.reached("memory"), 13);
    let mut other = door.knock(&door.client().leaf, b"http/1.1").await.unwrap();
    other.write_all(GET).await.unwrap();
    read_answer(&mut other).await;
    // the others are still answered
    peer.send(&frame(0, END_STREAM, 1, b"x")).await;
    loop {
        let (kind, stream, payload) = peer.frame().await.unwrap();
        if (kind, stream) == (0, 1) && !payload.is_empty() {
            assert_eq!(payload, b"1");
            break;
        }
    }
}

#[tokio::test]
async fn the_last_request_is_answered_before_the_goodbye_takes_effect() {
    for limits in [
        Limits { requests: 2, ..Limits::default() },
        Limits { age: shared::config::Span(Duration::from_nanos(1)), ..Limits::default() },
    ] {
        let door = OpenDoor::open(Handshake::Explain, limits).await;
        let mut peer = Peer::knock(&door).await;
        peer.send(&[open_stream(1), open_stream(3), frame(0, END_STREAM, 3, b"xy")].concat()).await;
        let mut answers = Vec::new();
        while let Some((kind, stream, payload)) = peer.frame().await {
            match kind {
                0 if !payload.is_empty() => answers.push((stream, payload)),
                // what was begun before goes on
                7 => peer.send(&frame(0, END_STREAM, 1, b"x")).await,
                // PING: acknowledged, and so the goodbye is complete
                6 => peer.send(&frame(6, 1, 0, &payload)).await,
                _ => {}
            }
        }
        answers.sort();
        assert_eq!(answers, [(1, b"1".to_vec()), (3, b"2".to_vec())]);
    }
}

#[tokio::test]
async fn answers_that_no_window_is_opened_for_end_their_connection() {
    let write = shared::config::Span::millis(200);
    for (limits, revoked) in [
        (Limits { write, ..Limits::default() }, false),
        // it is closing already, and may take its time for answers that are taken
        (Limits { write, requests: 20, ..Limits::default() }, false),
        (Limits { write, ..Limits::default() }, true),
    ] {
        let door = OpenDoor::open(Handshake::Explain, limits).await;
        let mut peer = Peer::knock(&door).await;
        // SETTINGS_INITIAL_WINDOW_SIZE
        peer.send(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
        peer.send(&many(20, |n| frame(1, END_STREAM | END_HEADERS, 2 * n + 1, ROOT))).await;
        if revoked {
            while peer.frame().await.unwrap().0 != 1 {}
            door.connections.close_where(|_| true);
        }
        assert_eq!(peer.until_closed(0).await, Vec::<Vec<u8>>::new());
        assert_eq!(door.reached("write"), 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_taken_slowly_is_taken_to_its_end() {
    let write = shared::config::Span::millis(300);
    let door = OpenDoor::open(Handshake::Explain, Limits { write, ..Limits::default() }).await;
    let mut peer = Peer::knock(&door).await;
    peer.send(&frame(4, 0, 0, &[0, 4, 0, 0, 4, 0])).await;
    peer.send(&frame(1, END_STREAM | END_HEADERS, 1, b"\x82\x87\x44\x07/pieces\x41\x09localhost")).await;
    // 20 pieces of 1 KiB, one at a time: longer in all than a peer is waited for that takes nothing
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut taken = 0;
    while taken < 20 << 10 {
        let (kind, _, payload) = peer.frame().await.unwrap();
        if kind == 0 && !payload.is_empty() {
            taken += payload.len();
            pace.tick().await;
            let window = u32::try_from(payload.len()).unwrap().to_be_bytes();
            peer.send(&[frame(8, 0, 1, &window), frame(8, 0, 0, &window)].concat()).await;
        }
    }
    assert_eq!(door.reached("write"), 0);
}
