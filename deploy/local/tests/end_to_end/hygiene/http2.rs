//! HTTP/2: fields and frames that HTTP/1.1 could not say, or would say otherwise.

use rustls::version::TLS13;

use super::{
    Met::{self, Answered, Closed, Refused, Reset, Stored},
    assert_stored,
    frames::{END_HEADERS, END_STREAM, Fields, PREFACE, data, frame, headers, read_frame, settings},
    http1::MESSAGE,
};
use crate::support::{
    Sender,
    caller::{Call, Caller},
    shared_stack,
};

const BROKEN: Met = Refused("invalid_request");
const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", "/api/v1/messages");
const AUTHORITY: (&str, &str) = (":authority", "localhost");
const JSON: (&str, &str) = ("content-type", "application/json");

struct Probe {
    what: &'static str,
    section: &'static str,
    bytes: Vec<u8>,
    met: Met,
}

/// A request with these fields and the message as its body, as stream 1.
fn with(what: &'static str, section: &'static str, fields: Fields<'_>, met: Met) -> Probe {
    let mut bytes = headers(1, 0, fields);
    bytes.extend(data(1, END_STREAM, MESSAGE.as_bytes()));
    Probe { what, section, bytes, met }
}

/// A good POST, and one more field.
fn and(what: &'static str, section: &'static str, field: (&str, &str), met: Met) -> Probe {
    with(what, section, &[METHOD, SCHEME, PATH, AUTHORITY, JSON, field], met)
}

fn raw(what: &'static str, section: &'static str, bytes: &[Vec<u8>], met: Met) -> Probe {
    Probe { what, section, bytes: bytes.concat(), met }
}

/// What becomes of stream 1.
fn outcome(call: &mut Call) -> (Met, String) {
    let mut body = Vec::new();
    loop {
        let Ok(frame) = read_frame(call) else { return (Closed, "closed".to_owned()) };
        match (frame.kind, frame.stream) {
            (0, 1) => body.extend(frame.payload),
            (3, 1) => return (Reset, format!("RST_STREAM {:?}", frame.payload)),
            (7, _) => return (Closed, format!("GOAWAY {:?}", frame.payload)),
            _ => {}
        }
        if matches!(frame.kind, 0 | 1) && frame.stream == 1 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    let text = String::from_utf8(body).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let met = match (json["status"].as_str(), json["code"].as_str()) {
        (Some("queued"), _) => Stored,
        (Some("ok"), _) => Answered,
        (_, Some(code)) => Refused(code.to_owned().leak()),
        _ => Refused("(no body)"),
    };
    (met, text)
}

fn assert_met(probes: Vec<Probe>) {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let caller = Caller::of(&sender.client, &TLS13).speaking(b"h2");
    let (mut stored, mut wrong) = (0, Vec::new());
    for Probe { what, section, bytes, met } in probes {
        let mut call = caller.connect(stack.url()).unwrap();
        call.send(&[PREFACE, &settings(), &bytes].concat()).unwrap();
        let (seen, text) = outcome(&mut call);
        if seen != met {
            wrong.push(format!("{what} ({section}): {seen:?}, not {met:?}: {text}"));
        }
        if seen != Closed {
            assert_still_answers(&mut call, what);
        }
        stored += usize::from(seen.is_stored());
        assert_stored(stack, &sender, stored);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Streams that were refused leave the others alone.
fn assert_still_answers(call: &mut Call, what: &str) {
    let get = [(":method", "GET"), SCHEME, (":path", "/health"), AUTHORITY];
    call.send(&headers(5, END_STREAM, &get)).unwrap();
    loop {
        let frame = read_frame(call).unwrap_or_else(|error| panic!("{what}: the connection ended: {error}"));
        assert_ne!((frame.kind, frame.stream), (3, 5), "{what}: {frame:?}");
        if frame.kind == 0 && frame.stream == 5 {
            assert!(String::from_utf8_lossy(&frame.payload).contains("\"ok\""), "{what}: {frame:?}");
            return;
        }
    }
}

#[test]
fn pseudo_header_fields_have_one_reading() {
    let path = |path| [METHOD, SCHEME, (":path", path), AUTHORITY, JSON];
    let to = |authority| [METHOD, SCHEME, PATH, (":authority", authority), JSON];
    assert_met(vec![
        with("a good one", "9113 §8.3.1", &[METHOD, SCHEME, PATH, AUTHORITY, JSON], Stored),
        with("no :method", "9113 §8.3.1", &[SCHEME, PATH, AUTHORITY, JSON], Reset),
        with("no :scheme", "9113 §8.3.1", &[METHOD, PATH, AUTHORITY, JSON], Reset),
        with("no :path", "9113 §8.3.1", &[METHOD, SCHEME, AUTHORITY, JSON], Reset),
        with(":method twice", "9113 §8.3", &[METHOD, METHOD, SCHEME, PATH, AUTHORITY, JSON], Reset),
        with(
            ":path twice",
            "9113 §8.3",
            &[METHOD, SCHEME, PATH, (":path", "/health"), AUTHORITY, JSON],
            Reset,
        ),
        with(":authority twice", "9113 §8.3", &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY, JSON], Reset),
        with("one after the others", "9113 §8.3", &[METHOD, SCHEME, PATH, JSON, AUTHORITY], Reset),
        with("an unknown one", "9113 §8.3", &[METHOD, SCHEME, PATH, AUTHORITY, (":x", "1"), JSON], Closed),
        with("an answer's", "9113 §8.3", &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200"), JSON], Reset),
        with("an empty :path", "9113 §8.3.1", &path(""), Reset),
        with("a :path without its slash", "9113 §8.3.1", &path("api/v1/messages"), Reset),
        with("a :path that is a URL", "9113 §8.3.1", &path("https://localhost/api/v1/messages"), Reset),
        with("an asterisk", "9113 §8.3.1", &path("*"), BROKEN),
        with("a :path with a space", "9113 §8.3.1", &path("/api/v1/messages HTTP/1.1"), Reset),
        with("a :path with a line in it", "9113 §8.3.1", &path("/\r\nX-A: 1"), Reset),
        with(
            "a :scheme without TLS",
            "9110 §7.4",
            &[METHOD, (":scheme", "http"), PATH, AUTHORITY, JSON],
            BROKEN,
        ),
        with("an unknown :scheme", "9110 §7.4", &[METHOD, (":scheme", "ftp"), PATH, AUTHORITY, JSON], BROKEN),
        with("neither :authority nor Host", "9113 §8.3.1", &[METHOD, SCHEME, PATH, JSON], BROKEN),
        with("Host alone", "9113 §8.3.1", &[METHOD, SCHEME, PATH, JSON, ("host", "localhost")], Stored),
        with("two Hosts", "9112 §3.2", &[METHOD, SCHEME, PATH, JSON, ("host", "a"), ("host", "b")], BROKEN),
        and("Host as :authority", "9113 §8.3.1", ("host", "LOCALHOST"), Stored),
        and("another Host than :authority", "9113 §8.3.1", ("host", "example.org"), BROKEN),
        with("a user in :authority", "9113 §8.3.1", &to("user@localhost"), BROKEN),
        with("an :authority that is none", "9113 §8.3.1", &to("local host"), Reset),
        with("CONNECT", "9113 §8.5", &[(":method", "CONNECT"), AUTHORITY], BROKEN),
        with(
            "CONNECT for a protocol",
            "8441 §4",
            &[(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, PATH, AUTHORITY],
            Reset,
        ),
        with(
            "a method that is no token",
            "9110 §9.1",
            &[(":method", "PO ST"), SCHEME, PATH, AUTHORITY, JSON],
            Closed,
        ),
    ]);
}

#[test]
fn fields_have_one_reading() {
    let long = "x".repeat(17 * 1024);
    let longer = "x".repeat(40 * 1024);
    let many: Vec<_> =
        [METHOD, SCHEME, PATH, AUTHORITY, JSON].into_iter().chain([("x-a", "1"); 64]).collect();
    let wrong_length = (MESSAGE.len() + 1).to_string();
    let right_length = MESSAGE.len().to_string();
    let right = ("content-length", right_length.as_str());
    assert_met(vec![
        and("transfer-encoding", "9113 §8.2.2", ("transfer-encoding", "chunked"), Reset),
        and("connection", "9113 §8.2.2", ("connection", "close"), Reset),
        and("keep-alive", "9113 §8.2.2", ("keep-alive", "timeout=5"), Reset),
        and("proxy-connection", "9113 §8.2.2", ("proxy-connection", "keep-alive"), Reset),
        and("upgrade", "9113 §8.2.2", ("upgrade", "h2c"), Reset),
        and("te", "9113 §8.2.2", ("te", "gzip"), Reset),
        and("te: trailers", "9113 §8.2.2", ("te", "trailers"), Stored),
        and("a name in capitals", "9113 §8.2.1", ("X-A", "1"), Closed),
        and("a name with a colon", "9113 §8.2.1", ("x:a", "1"), Closed),
        and("a name with a space", "9113 §8.2.1", ("x a", "1"), Closed),
        and("no name", "9113 §8.2.1", ("", "1"), Closed),
        and("a value with NUL", "9113 §8.2.1", ("x-a", "1\x002"), Closed),
        and("a value with LF", "9113 §8.2.1", ("x-a", "1\nx-b: 2"), Closed),
        and("a value with CR", "9113 §8.2.1", ("x-a", "1\r2"), Closed),
        and("a space before a value", "9113 §8.2.1", ("x-a", " 1"), BROKEN),
        and("a tab after a value", "9113 §8.2.1", ("x-a", "1\t"), BROKEN),
        and("the right length", "9113 §8.1.1", right, Stored),
        and("a length too long", "9113 §8.1.1", ("content-length", &wrong_length), Reset),
        and("a length too short", "9113 §8.1.1", ("content-length", "4"), Reset),
        and("a length that is none", "9110 §8.6", ("content-length", "+4"), Reset),
        with(
            "two lengths",
            "9110 §8.6",
            &[METHOD, SCHEME, PATH, AUTHORITY, JSON, right, ("content-length", "4")],
            Reset,
        ),
        with(
            "two lengths, equal",
            "9110 §8.6",
            &[METHOD, SCHEME, PATH, AUTHORITY, JSON, right, right],
            BROKEN,
        ),
        and("an unknown expectation", "9110 §10.1.1", ("expect", "x"), Refused("expectation_failed")),
        with("69 fields", "9113 §10.5.1", &many, Refused("head_too_large")),
        and("17 KiB", "9113 §10.5.1", ("x-a", &long), Refused("head_too_large")),
        and("more than the library reads", "9113 §10.5.1", ("x-a", &longer), Refused("(no body)")),
    ]);
}

#[test]
fn frames_have_one_reading() {
    let open = |stream| headers(stream, 0, &[METHOD, SCHEME, PATH, AUTHORITY, JSON]);
    let body = |flags| data(1, flags, MESSAGE.as_bytes());
    let trailers = |fields| headers(1, END_STREAM, fields);
    assert_met(vec![
        raw("trailers", "9113 §8.1", &[open(1), body(0), trailers(&[("x-a", "1")])], Stored),
        raw(
            "a pseudo field in trailers",
            "9113 §8.1",
            &[open(1), body(0), trailers(&[(":path", "/x")])],
            Stored,
        ),
        raw("a stream of the server's", "9113 §5.1.1", &[open(2)], Closed),
        raw("stream 0", "9113 §6.2", &[open(0)], Closed),
        raw("a stream that goes back", "9113 §5.1.1", &[open(3), open(1)], Closed),
        raw("DATA before HEADERS", "9113 §5.1", &[body(END_STREAM)], Closed),
        raw("CONTINUATION of nothing", "9113 §6.10", &[frame(9, END_HEADERS, 1, &[])], Closed),
        raw("HEADERS that do not end", "9113 §6.10", &[frame(1, 0, 1, &[0x82]), settings()], Closed),
        raw(
            "compression that is none",
            "7541 §2.3.3",
            &[frame(1, END_HEADERS, 1, &[0xff, 0xff, 0x0f])],
            Closed,
        ),
        raw("a frame too long", "9113 §4.2", &[open(1), data(1, 0, &[b' '; 17 * 1024])], Closed),
        raw("a promise", "9113 §8.4", &[frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])], Closed),
        raw("an unknown frame", "9113 §4.1", &[frame(0xfa, 0, 0, b"x"), open(1), body(END_STREAM)], Stored),
    ]);
}
