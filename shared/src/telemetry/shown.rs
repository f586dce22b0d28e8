//! What JSON may leave as it is, and a terminal or a reader that splits lines elsewhere would not: written as escapes.
//!
//! In: lines of JSON, each whole. Out: the same lines. In JSON such a character can stand in a string only, where an
//! escape means the same (RFC 8259 §7).

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::line::misleads;

/// Writes JSON that shows what it says.
pub(super) struct Shown<W>(pub(super) W);

/// Makes writers that do, of those that another makes.
pub(super) struct ToShown<M>(pub(super) M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for ToShown<M> {
    type Writer = Shown<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Shown(self.0.make_writer())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Shown(self.0.make_writer_for(metadata))
    }
}

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(bytes) {
            Ok(line) if line.contains(|one| one != '\n' && misleads(one)) => {
                self.0.write_all(shown(line)?.as_bytes())?;
            }
            _ => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn shown(line: &str) -> io::Result<String> {
    let mut shown = String::with_capacity(line.len() + 16);
    for character in line.chars() {
        if character != '\n' && misleads(character) {
            write!(shown, "\\u{:04x}", u32::from(character)).map_err(io::Error::other)?;
        } else {
            shown.push(character);
        }
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_writer_is_made_for_the_line_that_it_writes() {
        #[derive(Clone, Default)]
        struct Targets(Arc<Mutex<Vec<String>>>);
        impl<'a> MakeWriter<'a> for Targets {
            type Writer = io::Sink;
            fn make_writer(&'a self) -> io::Sink {
                io::sink()
            }
            fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> io::Sink {
                self.0.lock().unwrap().push(metadata.target().to_owned());
                io::sink()
            }
        }
        let targets = Targets::default();
        let subscriber = tracing_subscriber::fmt().json().with_writer(ToShown(targets.clone())).finish();
        tracing::subscriber::with_default(subscriber, || tracing::info!(target: "access", "request"));
        assert_eq!(*targets.0.lock().unwrap(), ["access"]);
    }

    #[test]
    fn json_means_the_same_and_turns_nothing_around() {
        let evil = "é\u{202e}\u{2028}\u{85}\u{7f}\u{feff}😀";
        let line = format!("{}\n", serde_json::json!({"cn": evil, "with\u{200f}": 1}));
        let mut written = Vec::new();
        Shown(&mut written).write_all(line.as_bytes()).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert!(written.trim_end().chars().all(|one| !misleads(one)), "{written:?}");
        assert_eq!(written.lines().count(), 1);
        let [before, after] =
            [&line, &written].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(before, after);
        assert!(written.contains("é") && written.contains("😀"), "{written}");
    }
}
