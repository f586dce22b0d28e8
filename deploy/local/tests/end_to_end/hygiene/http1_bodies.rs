//! HTTP/1.1: where a body ends, and so where the next request begins.

use super::{
    Met::{self, Answered, RefusedForGood, Stored, StoredForGood},
    http1::{MESSAGE, assert_met, chunked, hidden, post, probe},
};
use crate::support::{Sender, caller::Caller, shared_stack};

const BROKEN: Met = RefusedForGood("invalid_request");
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn lengths(values: &[&str]) -> String {
    values.iter().flat_map(|value| ["Content-Length: ", value, "\r\n"]).collect()
}

#[test]
fn a_body_has_one_end() {
    let own = MESSAGE.len().to_string();
    let own = own.as_str();
    let longer = (MESSAGE.len() + hidden().len()).to_string();
    let of = |lines: &str| post(lines, MESSAGE);
    let probes = [
        // the chunks count, and nothing after them is read
        ("CL.TE", "9112 §6.1", post(&format!("{}{CHUNKED}", lengths(&[&longer])), &chunked()), StoredForGood),
        ("TE.CL", "9112 §6.1", post(&format!("{CHUNKED}{}", lengths(&["4"])), &chunked()), StoredForGood),
        (
            "CL.TE with an empty body",
            "9112 §6.1",
            post(&format!("{}{CHUNKED}", lengths(&[&longer])), "0\r\n\r\n"),
            RefusedForGood("invalid_json"),
        ),
        ("TE.TE", "9112 §6.1", post(&format!("{CHUNKED}{CHUNKED}"), &chunked()), BROKEN),
        (
            "TE.TE, the second one not",
            "9112 §6.1",
            post(&format!("{CHUNKED}Transfer-Encoding: x\r\n"), &chunked()),
            BROKEN,
        ),
        ("an unknown coding", "9112 §6.1", post("Transfer-Encoding: xchunked\r\n", &chunked()), BROKEN),
        (
            "chunks within a coding",
            "9112 §7",
            post("Transfer-Encoding: gzip, chunked\r\n", &chunked()),
            BROKEN,
        ),
        ("a coding of chunks", "9112 §6.1", post("Transfer-Encoding: chunked, gzip\r\n", &chunked()), BROKEN),
        ("chunked twice", "9112 §7.1", post("Transfer-Encoding: chunked, chunked\r\n", &chunked()), BROKEN),
        ("identity", "9112 §7", post("Transfer-Encoding: identity\r\n", &chunked()), BROKEN),
        ("an empty coding", "9112 §6.1", post("Transfer-Encoding:\r\n", &chunked()), BROKEN),
        (
            "a coding behind a control",
            "9110 §5.5",
            post("Transfer-Encoding: \x0bchunked\r\n", &chunked()),
            BROKEN,
        ),
        (
            "a space before its colon",
            "9112 §5.1",
            post("Transfer-Encoding : chunked\r\n", &chunked()),
            BROKEN,
        ),
        (
            "chunks in HTTP/1.0",
            "9112 §6.1",
            post(CHUNKED, &chunked()).replace("HTTP/1.1", "HTTP/1.0"),
            BROKEN,
        ),
        ("CHUNKED in capitals", "9112 §7", post("Transfer-Encoding: CHUNKED\r\n", &chunked()), Stored),
        ("two lengths, equal", "9110 §8.6", of(&lengths(&[own, own])), Stored),
        ("two lengths", "9112 §6.3", of(&lengths(&[own, "4"])), BROKEN),
        ("a list of lengths", "9110 §8.6", of(&lengths(&["4, 4"])), BROKEN),
        ("a length with a sign", "9110 §8.6", of(&lengths(&["+4"])), BROKEN),
        ("a negative length", "9110 §8.6", of(&lengths(&["-4"])), BROKEN),
        ("a length in hexadecimal", "9110 §8.6", of(&lengths(&["0x4"])), BROKEN),
        ("two words of length", "9110 §8.6", of(&lengths(&["4 4"])), BROKEN),
        ("no length", "9110 §8.6", of(&lengths(&[""])), BROKEN),
        ("more than 64 bits of length", "9110 §8.6", of(&lengths(&["99999999999999999999"])), BROKEN),
        ("zeros before a length", "9110 §8.6", of(&lengths(&[&format!("000{own}")])), Stored),
    ];
    let probes = probes.map(|(what, section, bytes, met)| probe(what, section, bytes, met));
    assert_met(shared_stack(), probes.into());
}

#[test]
fn a_body_that_nobody_asked_for_is_no_request() {
    let hidden = hidden();
    let length = format!("Content-Length: {}\r\n", hidden.len());
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let to = |line: &str, lines: &str, body: &str| {
        format!("{line} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
    };
    let probes = [
        ("CL.0 of a GET", "9110 §9.3.1", to("GET /health", &length, &hidden), Answered),
        ("CL.0 of a HEAD", "9110 §9.3.2", to("GET /api/v1/whoami", &length, &hidden), Answered),
        (
            "CL.0 of a path that is none",
            "9112 §6",
            to("POST /no/such", &length, &hidden),
            Met::Refused("not_found"),
        ),
        (
            "CL.0 of a method that is none",
            "9112 §6",
            to("POST /health", &length, &hidden),
            Met::Refused("method_not_allowed"),
        ),
        ("chunks of a GET", "9112 §6", to("GET /health", CHUNKED, &chunk), Answered),
        (
            "a body of another type",
            "9112 §6",
            to("POST /api/v1/messages", &length, &hidden),
            RefusedForGood("unsupported_media_type"),
        ),
    ];
    let probes = probes.map(|(what, section, bytes, met)| probe(what, section, bytes, met));
    assert_met(shared_stack(), probes.into());
}

#[test]
fn chunks_have_one_reading() {
    let size = format!("{:x}", MESSAGE.len());
    let chunks = |chunks: String| post(CHUNKED, &chunks);
    let sized = |line: &str| chunks(format!("{line}\r\n{MESSAGE}\r\n0\r\n\r\n"));
    let ended = |end: &str| chunks(format!("{size}\r\n{MESSAGE}\r\n0\r\n{end}\r\n"));
    let probes = [
        ("an extension", "9112 §7.1.1", sized(&format!("{size};a=\"b\"")), Stored),
        ("an extension too long", "9112 §7.1.1", sized(&format!("{size};{}", "a".repeat(17 * 1024))), BROKEN),
        ("an extension with LF", "9112 §7.1.1", sized(&format!("{size};a\nb")), BROKEN),
        ("no size", "9112 §7.1", sized(""), BROKEN),
        ("a size that is none", "9112 §7.1", sized("g"), BROKEN),
        ("a negative size", "9112 §7.1", sized("-1"), BROKEN),
        ("a size by its prefix", "9112 §7.1", sized(&format!("0x{size}")), BROKEN),
        ("a space before a size", "9112 §7.1", sized(&format!(" {size}")), BROKEN),
        ("two sizes", "9112 §7.1", sized(&format!("{size} {size}")), BROKEN),
        ("more than 64 bits of size", "9112 §7.1", sized(&format!("1{}", "0".repeat(16))), BROKEN),
        ("zeros before a size", "9112 §7.1", sized(&format!("000{size}")), Stored),
        ("a size that ends with LF", "9112 §7.1", chunks(format!("{size}\n{MESSAGE}\r\n0\r\n\r\n")), BROKEN),
        ("a size that ends with CR", "9112 §7.1", chunks(format!("{size}\r{MESSAGE}\r\n0\r\n\r\n")), BROKEN),
        ("a chunk that ends with LF", "9112 §7.1", chunks(format!("{size}\r\n{MESSAGE}\n0\r\n\r\n")), BROKEN),
        ("a chunk longer than its size", "9112 §7.1", chunks(format!("5\r\n{MESSAGE}\r\n0\r\n\r\n")), BROKEN),
        ("a trailer", "9110 §6.5", ended("X-A: 1\r\n"), Stored),
        ("a trailer that would be a length", "9110 §6.5.1", ended("Content-Length: 4\r\n"), Stored),
        ("a trailer that would be an identity", "9110 §6.5.1", ended("X-Client-Id: admin\r\n"), Stored),
        ("a trailer without a colon", "9112 §7.1.2", ended("X-A\r\n"), BROKEN),
        ("trailers too many", "9112 §7.1.2", ended(&"X-A: 1\r\n".repeat(200)), BROKEN),
        ("a trailer too long", "9112 §7.1.2", ended(&format!("X-A: {}\r\n", "x".repeat(20 * 1024))), BROKEN),
    ];
    let probes = probes.map(|(what, section, bytes, met)| probe(what, section, bytes, met));
    assert_met(shared_stack(), probes.into());
}

/// RFC 9112 §9.3.2
#[test]
fn requests_in_one_go_are_answered_in_their_order_up_to_the_first_that_is_broken() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let mut call = Caller::of(&sender.client, &rustls::version::TLS13)
        .speaking(b"http/1.1")
        .connect(stack.url())
        .unwrap();
    let broken = "GET /health HTTP/1.1\r\nHost: localhost\r\nX-A : 1\r\n\r\n";
    let health = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    call.send([&hidden(), health, &hidden(), broken, &hidden()].concat().as_bytes()).unwrap();
    let statuses: Vec<_> = (0..4).map(|_| call.answer().unwrap().0).collect();
    assert_eq!(statuses, [202, 200, 202, 400]);
    assert_eq!(call.read_to_close().unwrap(), "");
    super::assert_stored(stack, &sender, 2);
}

/// RFC 9110 §10.1.1
#[test]
fn a_body_that_waits_for_leave_gets_it_and_one_that_is_refused_does_not() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let caller = Caller::of(&sender.client, &rustls::version::TLS13).speaking(b"http/1.1");
    let mut call = caller.connect(stack.url()).unwrap();
    let length = format!("Content-Length: {}\r\n", MESSAGE.len());
    call.send(post(&format!("Expect: 100-continue\r\n{length}"), "").as_bytes()).unwrap();
    assert_eq!(call.read(25).unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    call.send(MESSAGE.as_bytes()).unwrap();
    assert_eq!(call.answer().unwrap().0, 202);

    call.send(post("Expect: 100-continue\r\nContent-Length: 9999999\r\n", "").as_bytes()).unwrap();
    assert!(call.read(12).unwrap().ends_with(b"413"));
    super::assert_stored(stack, &sender, 1);
}
