//! How lines reach standard error: each at once, but for those of requests, of which a busy thread writes many at once.
//!
//! In: lines, each whole. Out: the same lines, a thread's in their order. A thread of the runtime writes what it holds
//! before it sleeps ([`write_held`]), before any other line, and when it holds enough: on a process that has time, a
//! line is there as soon as its answer. Lost with a process that is killed is what its threads hold at that moment. All
//! other lines wait for nothing, and so do those of threads that were never seen to sleep.

use std::{
    cell::RefCell,
    io::{self, Write, stderr},
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// The target of lines that may wait: one for each request.
const ACCESS: &str = "access";
/// So many bytes of lines a thread holds at most, and one line more.
const MOST: usize = 8 * 1024;

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held { lines: Vec::new(), sleeps: false }) };
}

/// What a thread has yet to write.
struct Held {
    lines: Vec<u8>,
    /// It says so before it sleeps; else nobody would write its last lines.
    sleeps: bool,
}

/// Writes what this thread holds. For the hooks of a runtime's threads, before they sleep and when they end.
pub(crate) fn write_held() {
    let _thread_ends = HELD.try_with(|held| {
        let mut held = held.borrow_mut();
        held.sleeps = true;
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
        written
    }

    /// Takes a line; `may_wait` for others.
    fn take(&mut self, line: &[u8], may_wait: bool, writer: &mut impl Write) -> io::Result<()> {
        if may_wait && self.sleeps {
            self.lines.extend_from_slice(line);
            return if self.lines.len() < MOST { Ok(()) } else { self.write_to(writer) };
        }
        let before = self.write_to(writer);
        writer.write_all(line).and(before)
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
        let taken = HELD.try_with(|held| held.borrow_mut().take(line, self.may_wait, &mut stderr()));
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

    fn held(sleeps: bool) -> (Held, Vec<u8>) {
        (Held { lines: Vec::new(), sleeps }, Vec::new())
    }

    #[test]
    fn a_line_of_a_request_waits_for_sleep_or_for_another_line() {
        let (mut held, mut log) = held(true);
        held.take(b"one\n", true, &mut log).unwrap();
        held.take(b"two\n", true, &mut log).unwrap();
        assert_eq!(log, b"");
        held.take(b"error\n", false, &mut log).unwrap();
        assert_eq!(log, b"one\ntwo\nerror\n");
        held.take(b"three\n", true, &mut log).unwrap();
        held.write_to(&mut log).unwrap();
        held.write_to(&mut log).unwrap();
        assert_eq!(log, b"one\ntwo\nerror\nthree\n");
    }

    #[test]
    fn a_thread_that_never_sleeps_writes_each_line_and_a_busy_one_holds_a_bounded_number() {
        let (mut held, mut log) = held(false);
        held.take(b"one\n", true, &mut log).unwrap();
        assert_eq!(log, b"one\n");
        held.sleeps = true;
        let line = [&[b'x'; 99][..], b"\n"].concat();
        for _ in 0..1000 {
            held.take(&line, true, &mut log).unwrap();
            assert!(held.lines.len() < MOST);
        }
        held.write_to(&mut log).unwrap();
        assert_eq!(log.len(), 4 + 100_000);
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
        let (mut held, mut log) = held(true);
        held.take(b"one\n", true, &mut Gone).unwrap();
        assert!(held.write_to(&mut Gone).is_err());
        held.take(b"two\n", true, &mut Gone).unwrap();
        held.write_to(&mut log).unwrap();
        assert_eq!(log, b"two\n");
    }
}
