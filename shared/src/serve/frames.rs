//! HTTP/2 frames that ask for nothing: PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`, empty DATA, unknown types, and
//! `RST_STREAM`, which takes back what was asked. The HTTP/2 library bounds what they cost in memory, and not how many
//! there are.
//!
//! In: the bytes that a peer sends, of which only the nine of each frame's header are looked at (RFC 9113 §4.1).
//! Out: nothing. Refused: more than so many a second.

use std::time::{Duration, Instant};

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113 §3.4).
const PREFACE: usize = 24;
const HEADER: usize = 9;
/// A reset undoes a request that was begun, which costs more than answering a PING (CVE-2023-44487).
const RESET: u32 = 10;
/// Bytes that we write earn the peer a frame each: it has to open the window again.
const EARNED_BY: u64 = 2048;

/// Counts the frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass over before the next header.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    cost: Duration,
    /// When what was sent so far will have been paid for (GCRA); a second ahead is allowed.
    paid: Option<Instant>,
    written: u64,
}

impl Frames {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            skip: PREFACE,
            header: [0; HEADER],
            have: 0,
            cost: Duration::from_secs(1) / per_second.max(1),
            paid: None,
            written: 0,
        }
    }

    /// Counts what came; false when it was too much.
    pub(super) fn came(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        let mut paid = true;
        loop {
            let skipped = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            (self.have, bytes) = (self.have + taken, &bytes[taken..]);
            if self.have < HEADER {
                return paid;
            }
            self.have = 0;
            let [high, middle, low, kind, flags, ..] = self.header;
            self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
            paid &= self.pay(weight(kind, flags, self.skip), now);
        }
    }

    /// So many bytes were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    fn pay(&mut self, weight: u32, now: Instant) -> bool {
        if weight == 0 {
            return true;
        }
        if weight == 1 && self.written >= EARNED_BY {
            self.written -= EARNED_BY;
            return true;
        }
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + self.cost * weight;
        self.paid = Some(paid);
        paid <= now + Duration::from_secs(1)
    }
}

/// What a frame counts for. A request is bounded by other means: it has a deadline, and holds memory.
fn weight(kind: u8, flags: u8, length: usize) -> u32 {
    const END_STREAM: u8 = 0x1;
    match kind {
        // DATA
        0 => u32::from(length == 0 && flags & END_STREAM == 0),
        // HEADERS
        1 => 0,
        // RST_STREAM
        3 => RESET,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.extend(vec![kind; length.into()]);
        bytes
    }

    /// How many of these frames are let pass at one moment, out of 2000, in pieces of this size.
    fn passed(frame: &[u8], piece: usize) -> usize {
        let (now, mut frames) = (Instant::now(), Frames::new(1000));
        assert!(frames.came(&[0; PREFACE], now));
        let passes = |frames: &mut Frames| frame.chunks(piece).all(|piece| frames.came(piece, now));
        (0..2000).take_while(|_| passes(&mut frames)).count()
    }

    #[test]
    fn what_asks_for_nothing_is_counted_and_requests_are_not() {
        for piece in [1, 7, 9, 4096] {
            for (what, frame, expected) in [
                ("DATA", frame(0, 0, 100), 2000),
                ("the end of a body", frame(0, 1, 0), 2000),
                ("HEADERS", frame(1, 5, 30), 2000),
                ("empty DATA", frame(0, 0, 0), 1000),
                ("PRIORITY", frame(2, 0, 5), 1000),
                ("RST_STREAM", frame(3, 0, 4), 100),
                ("SETTINGS", frame(4, 0, 6), 1000),
                ("PING", frame(6, 0, 8), 1000),
                ("WINDOW_UPDATE", frame(8, 0, 4), 1000),
                ("CONTINUATION", frame(9, 0, 10), 1000),
                ("an unknown type", frame(0xfa, 0, 20), 1000),
            ] {
                assert_eq!(passed(&frame, piece), expected, "{what} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn time_and_answers_earn_frames_and_answers_to_pings_do_not() {
        let (begun, mut frames) = (Instant::now(), Frames::new(1000));
        assert!(frames.came(&[0; PREFACE], begun));
        let ping = frame(6, 0, 8);
        let mut most_at = |now: Instant, written: usize| {
            let passes = |frames: &mut Frames| {
                frames.wrote(written);
                frames.came(&ping, now)
            };
            (0..5000).take_while(|_| passes(&mut frames)).count()
        };
        assert!((1000..1010).contains(&most_at(begun, 17)));
        assert!((490..510).contains(&most_at(begun + Duration::from_millis(500), 0)));
        assert_eq!(most_at(begun + Duration::from_secs(9), 4096), 5000);
    }
}
