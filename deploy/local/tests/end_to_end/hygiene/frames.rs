//! HTTP/2 by hand (RFC 9113): frames out, frames in. Header fields are literals without compression (RFC 7541 §6.2.2).

use std::io;

use crate::support::caller::Call;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

pub(crate) fn headers(stream: u32, flags: u8, fields: Fields<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        literal(name.as_bytes(), &mut block);
        literal(value.as_bytes(), &mut block);
    }
    // frames have 16 KiB at most
    let mut pieces = block.chunks(16_000);
    let first = pieces.next().unwrap_or_default();
    let rest: Vec<_> = pieces.collect();
    let end = |last: bool| if last { END_HEADERS } else { 0 };
    let mut bytes = frame(1, flags & !END_HEADERS | end(rest.is_empty()), stream, first);
    for (number, piece) in rest.iter().enumerate() {
        bytes.extend(frame(9, end(number + 1 == rest.len()), stream, piece));
    }
    bytes
}

pub(crate) fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, bytes)
}

fn literal(bytes: &[u8], out: &mut Vec<u8>) {
    let mut left = bytes.len();
    if left < 127 {
        out.push(u8::try_from(left).unwrap());
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        out.push(u8::try_from(left).unwrap());
    }
    out.extend_from_slice(bytes);
}

pub(crate) fn read_frame(call: &mut Call) -> io::Result<Frame> {
    let head = call.read(9)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
    let payload = call.read(number(&head[..3]) as usize)?;
    Ok(Frame { kind: head[3], flags: head[4], stream: number(&head[5..]), payload })
}
