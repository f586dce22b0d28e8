//! How a verb answers: words for people, or one JSON document for machines. Colours are written always and taken out
//! where standard output is no terminal.

use std::io::Write;

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::Place;
pub(super) use crate::moment::written as moment;

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();

/// Writes `report` as JSON if that was asked for, else what `words` writes.
pub(super) fn give(
    place: &Place,
    out: &mut dyn Write,
    report: &impl Serialize,
    words: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if !place.json {
        return words(out);
    }
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)?;
    Ok(())
}
