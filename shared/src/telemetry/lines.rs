//! How lines reach standard error: each at once, but for those of requests, of which a busy thread writes many at once.
//!
//! In: lines, each whole. Out: the same lines, a thread's in their order; those of several threads need not stand in the order
//! of their times. A thread of the runtime writes what it holds before it sleeps ([`write_before_sleep`]), before any other
//! line, when it holds enough, and when a further line comes after a while: on a process that has time, a line is there as
//! soon as its answer. Lost with a process that is killed is what its threads hold at that moment. All other lines wait for
//! nothing, nor do those of threads that were never seen to sleep.

use std::{
    cell::RefCell,
    io::{self, Write, stderr},
    time::{Duration, Instant},
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// The target of lines that may wait: one for each request.
pub const ACCESS: &str = "access";
/// So many bytes of lines a thread holds at most: a pipe takes no more in one piece (`PIPE_BUF`, pipe(7)), and processes that
/// share one shall not cut each other's lines.
const MOST: usize = 4096;
/// A thread that never comes to rest holds them for so long, and until its next line.
const LONGEST: Duration = Duration::from_millis(100);

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held { lines: Vec::new(), since: None, sleeps: false }) };
}

/// What a thread has yet to write.
struct Held {
    lines: Vec<u8>,
    /// When the first of them came.
    since: Option<Instant>,
    /// It says so before it sleeps; else nobody would write its last lines.
    sleeps: bool,
}

/// Writes what this thread holds. For the hooks of a runtime's threads, before they sleep and when they end.
pub(crate) fn write_before_sleep() {
    write_held(true);
}

/// Writes what this thread holds now, since a line is among it that is not to be lost.
pub fn write_at_once() {
    write_held(false);
}

fn write_held(sleeps: bool) {
    let _thread_ends = HELD.try_with(|held| {
        let mut held = held.borrow_mut();
        held.sleeps |= sleeps;
        // a reader that went away is no reason to fail
        let _ = held.write_to(&mut stderr());
    });
}

impl Held {
    /// All of it, or what is left is forgotten: another try would repeat what was written.
    fn write_to(&mut self, writer: &mut impl Write) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let written = writer.write_all(&self.lines);
        self.lines.clear();
        self.since = None;
        written
    }

    /// Takes a line that came now; `may_wait` for others.
    fn take(&mut self, line: &[u8], may_wait: bool, now: Instant, writer: &mut impl Write) -> io::Result<()> {
        if !(may_wait && self.sleeps && line.len() < MOST) {
            let before = self.write_to(writer);
            return writer.write_all(line).and(before);
        }
        let has_room = self.lines.len() + line.len() <= MOST;
        let before = if has_room { Ok(()) } else { self.write_to(writer) };
        self.lines.extend_from_slice(line);
        let since = *self.since.get_or_insert(now);
        let waited = now.saturating_duration_since(since) >= LONGEST;
        if waited { self.write_to(writer) } else { before }
    }
}

/// Makes a writer for each line.
pub(super) struct ToStderr;

/// Writes one line.
pub(super) struct Writer {
    may_wait: bool,
}

impl<'a> MakeWriter<'a> for ToStderr {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer { may_wait: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Writer {
        Writer { may_wait: metadata.target() == ACCESS }
    }
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let taken =
            HELD.try_with(|held| held.borrow_mut().take(line, self.may_wait, Instant::now(), &mut stderr()));
        // a thread that ends holds nothing any more
        taken.unwrap_or_else(|_| stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(sleeps: bool) -> (Held, Vec<u8>, Instant) {
        (Held { lines: Vec::new(), since: None, sleeps }, Vec::new(), Instant::now())
    }

    #[test]
    fn a_line_of_a_request_waits_for_sleep_or_for_another_line() {
        let (mut held, mut log, now) = held(true);
        held.take(b"one\n", true, now, &mut log).unwrap();
        held.take(b"two\n", true, now, &mut log).unwrap();
        assert_eq!(log, b"");
        held.take(b"error\n", false, now, &mut log).unwrap();
        assert_eq!(log, b"one\ntwo\nerror\n");
        held.take(b"three\n", true, now, &mut log).unwrap();
        held.write_to(&mut log).unwrap();
        held.write_to(&mut log).unwrap();
        assert_eq!(log, b"one\ntwo\nerror\nthree\n");
    }

    #[test]
    fn on_a_thread_that_never_sleeps_no_line_waits() {
        let (mut held, mut log, now) = held(false);
        held.take(b"one\n", true, now, &mut log).unwrap();
        assert_eq!(log, b"one\n");
    }

    #[test]
    fn a_thread_that_never_comes_to_rest_holds_few_lines_and_not_for_long() {
        let (mut held, mut log, now) = held(true);
        held.take(b"one\n", true, now, &mut log).unwrap();
        held.take(b"two\n", true, now + LONGEST / 2, &mut log).unwrap();
        assert_eq!(log, b"");
        held.take(b"three\n", true, now + LONGEST, &mut log).unwrap();
        assert_eq!(log, b"one\ntwo\nthree\n");
        // counted from the first one that is held
        held.take(b"four\n", true, now + LONGEST, &mut log).unwrap();
        assert_eq!(held.lines, b"four\n");
    }

    #[test]
    fn what_is_written_at_once_are_whole_lines_that_a_pipe_takes_in_one_piece() {
        struct Pieces(Vec<Vec<u8>>);
        impl Write for Pieces {
            fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
                self.0.push(piece.to_vec());
                Ok(piece.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let ((mut held, _, now), mut pieces) = (held(true), Pieces(Vec::new()));
        let line = |length: usize| [vec![b'x'; length - 1], b"\n".to_vec()].concat();
        let lengths =
            [100, 3996, 1, 4095, 4096, 5000, 10].into_iter().chain((0..500).map(|more| 300 + more % 7));
        for length in lengths.clone() {
            held.take(&line(length), true, now, &mut pieces).unwrap();
        }
        held.write_to(&mut pieces).unwrap();
        assert_eq!(pieces.0.concat(), lengths.flat_map(line).collect::<Vec<_>>());
        for piece in pieces.0 {
            let lines = piece.split_inclusive(|byte| *byte == b'\n').count();
            assert!(piece.ends_with(b"\n") && (piece.len() <= MOST || lines == 1), "{} bytes", piece.len());
        }
    }

    #[test]
    fn a_reader_that_went_away_costs_its_lines_and_no_others() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut held, mut log, now) = held(true);
        held.take(b"one\n", true, now, &mut Gone).unwrap();
        assert!(held.write_to(&mut Gone).is_err());
        held.take(b"two\n", true, now, &mut Gone).unwrap();
        held.write_to(&mut log).unwrap();
        assert_eq!(log, b"two\n");
    }
}
