//! What a person sees while a file is sent: a bar on a terminal; elsewhere only why it waits, a line each.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::settled::Tally;

/// A bar, or none.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar over so many bytes, where standard error is a terminal.
    #[must_use]
    pub fn over(bytes: Option<u64>) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar }
    }

    /// No bar.
    #[must_use]
    pub fn none() -> Self {
        Self { bar: None }
    }

    pub(super) fn at(&self, bytes: u64, tally: &Tally) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(format!("{} accepted, {} refused", tally.accepted, tally.refused));
        }
    }

    pub(super) fn waits(&self, why: &str, wait: Duration) {
        let text = format!("{why}; again in {:.1} s", wait.as_secs_f32());
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => self.say(&text),
        }
    }

    /// A line on standard error, above the bar.
    pub fn say(&self, text: &str) {
        // nobody is left to be told when standard error is closed
        let write = || drop(writeln!(io::stderr(), "portcullis-certs: {text}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
