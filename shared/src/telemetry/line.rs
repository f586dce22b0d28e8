//! A log line as text: one event, one line, whatever is in it.
//!
//! In: an event, its values as they were recorded. Out: `time level target: message name=value …`, as
//! tracing-subscriber's own text format writes it without colours. Refused: characters that would end the line, or make
//! a terminal show something else; they are written as escapes, also in what was recorded with `%`. It is on the path of
//! each request, which is why it is not put together from parts that know of colours.

use std::fmt::{self, Debug, Write};

use time::OffsetDateTime;
use tracing::{Event, Subscriber, field::Field, field::Visit};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::{LookupSpan, Scope},
};

/// Bytes of most lines.
const USUAL: usize = 512;

/// See above.
pub(super) struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // put together here and handed over once: the writer does not know how long it gets
        let mut line = Escaped(String::with_capacity(USUAL));
        line.time(OffsetDateTime::now_utc());
        let level = event.metadata().level().as_str();
        line.plain(&[&"     "[level.len().min(5)..], " ", level, " "]);
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            line.write_str(span.name())?;
            if let Some(fields) =
                span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty())
            {
                write!(line, "{{{fields}}}")?;
            }
            line.plain(&[": "]);
        }
        line.plain(&[event.metadata().target(), ":"]);
        let mut fields = Fields { line: &mut line, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        line.0.push('\n');
        writer.write_str(&line.0)
    }
}

/// Writes what it is given in one line.
struct Escaped(String);

impl Escaped {
    /// Texts that hold nothing to be escaped.
    fn plain(&mut self, texts: &[&str]) {
        for text in texts {
            self.0.push_str(text);
        }
    }

    /// RFC 3339 with microseconds. Digit by digit: padded numbers cost as much as the rest of a line.
    fn time(&mut self, now: OffsetDateTime) {
        let (date, clock) = (now.date(), now.time());
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |end: usize, digits: usize, number: u32| {
            put_digits(&mut text[end - digits..end], number.into());
        };
        put(4, 4, date.year().unsigned_abs());
        put(7, 2, u8::from(date.month()).into());
        put(10, 2, date.day().into());
        put(13, 2, clock.hour().into());
        put(16, 2, clock.minute().into());
        put(19, 2, clock.second().into());
        put(26, 6, clock.microsecond());
        self.plain(&[std::str::from_utf8(&text).unwrap_or_default()]);
    }
}

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, 0x20..0x7f)) {
            self.0.push_str(text);
            return Ok(());
        }
        for character in text.chars() {
            match character {
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                hidden if misleads(hidden) => write!(self.0, "{}", hidden.escape_unicode())?,
                shown => self.0.push(shown),
            }
        }
        Ok(())
    }
}

/// Control characters, line ends beyond ASCII, and what changes the direction of the text around it (Unicode UAX #9).
pub(super) const fn misleads(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// The last digits of a number, as many as there is room for.
fn put_digits(room: &mut [u8], mut number: u64) {
    for place in room.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// A number in its digits, `least` at least.
fn digits(number: u64, least: u32, room: &mut [u8; 20]) -> &str {
    let count = number.checked_ilog10().map_or(1, |log| log + 1).max(least) as usize;
    put_digits(&mut room[..count], number);
    std::str::from_utf8(&room[..count]).unwrap_or_default()
}

/// The message and the fields of an event, in their order.
struct Fields<'a> {
    line: &'a mut Escaped,
    result: fmt::Result,
}

impl Fields<'_> {
    fn field(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            self.name(field);
            self.result = self.line.write_fmt(value);
        }
    }

    /// A value of texts that hold nothing to be escaped.
    fn plain(&mut self, field: &Field, texts: &[&str]) {
        if self.result.is_ok() {
            self.name(field);
            self.line.plain(texts);
        }
    }

    fn name(&mut self, field: &Field) {
        if field.name() == "message" {
            self.line.plain(&[" "]);
        } else {
            self.line.plain(&[" ", field.name(), "="]);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.field(field, format_args!("{value}"));
        } else if value.bytes().all(|byte| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\')) {
            // what `Debug` would write, character by character
            self.plain(field, &["\"", value, "\""]);
        } else {
            self.field(field, format_args!("{value:?}"));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, &[digits(value, 1, &mut [0; 20])]);
    }

    /// Seconds, for the most part: to the microsecond, without looking for the shortest digits.
    fn record_f64(&mut self, field: &Field, value: f64) {
        let micros = (value * 1e6).round();
        if !(0.0..1e15).contains(&micros) {
            return self.field(field, format_args!("{value}"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "its range was looked at"
        )]
        let micros = micros as u64;
        let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
        self.plain(field, &[digits(whole, 1, &mut [0; 20]), ".", digits(part, 6, &mut [0; 20])]);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field, format_args!("{value}"));
        let mut cause = value.source();
        while let Some(one) = cause.filter(|_| self.result.is_ok()) {
            self.result = write!(self.line, ": {one}");
            cause = one.source();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tracing::{info, info_span, subscriber::with_default, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Line)
            .finish();
        with_default(subscriber, act);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    /// Without the time, which is as long as it always is.
    fn rest(line: &str) -> &str {
        let (time, rest) = line.split_at("2026-11-21T12:51:29.531102Z".len());
        assert!(
            OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).is_ok(),
            "{time}"
        );
        rest
    }

    #[test]
    fn a_line_has_time_level_target_message_and_fields() {
        let line = logged(
            || info!(target: "access", count = 3, seconds = 12.000_345_6, none = -1.5, door = "client door", remote = %"[::1]:5", open = true, "request"),
        );
        assert_eq!(
            rest(&line),
            "  INFO access: request count=3 seconds=12.000346 none=-1.5 door=\"client door\" remote=[::1]:5 open=true\n"
        );
        let line = logged(
            || info!(target: "t", none = 0_u64, ten = 10_u64, most = u64::MAX, zero = 0.0, half = 0.5, "n"),
        );
        assert_eq!(
            rest(&line),
            "  INFO t: n none=0 ten=10 most=18446744073709551615 zero=0.000000 half=0.500000\n"
        );
        let line = logged(|| {
            let _entered = info_span!("queue.lease", max = 5).entered();
            let error = std::io::Error::other("gone");
            warn!(target: "t", error = &error as &dyn std::error::Error, "no");
        });
        assert_eq!(rest(&line), "  WARN queue.lease{max=5}: t: no error=gone\n");
    }

    /// What an escaped text stood for.
    fn unescaped(text: &str) -> String {
        let (mut plain, mut characters) = (String::new(), text.chars());
        while let Some(character) = characters.next() {
            plain.push(match (character, (character == '\\').then(|| characters.next().unwrap())) {
                (_, Some('n')) => '\n',
                (_, Some('r')) => '\r',
                (_, Some('t')) => '\t',
                (_, Some('0')) => '\0',
                (_, Some('u')) => {
                    let digits: String = characters.by_ref().take_while(|one| *one != '}').skip(1).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
                }
                (other, escaped) => escaped.unwrap_or(other),
            });
        }
        plain
    }

    proptest! {
        #[test]
        fn whatever_is_logged_is_one_line_and_can_be_read_back(
            text in "[ -~\n\r\t\0\u{1b}\u{80}-\u{9f}é\u{200b}-\u{202e}\u{2060}-\u{2069}\u{feff}\\\\\"]{0,20}|\\PC{0,10}|.{0,10}",
        ) {
            for line in [
                logged(|| info!(%text, "named")),
                logged(|| info!(?text, "named")),
                logged(|| info!(text, "named")),
                logged(|| info!("{text}")),
            ] {
                let inside = line.strip_suffix('\n').unwrap();
                prop_assert!(!inside.contains(misleads), "{:?}", line);
            }
            let line = logged(|| info!(text));
            let field = line.split_once("text=\"").unwrap().1.strip_suffix("\"\n").unwrap();
            prop_assert_eq!(unescaped(field), text);
        }
    }

    #[test]
    fn nothing_that_is_logged_makes_another_line_or_turns_one_around() {
        let evil =
            "x\r\n2026-11-21T12:51:29.531102Z  INFO access: forged\0\u{1b}[2J\u{85}\u{2028}\u{202e}\u{feff}é";
        for line in [
            logged(|| info!(%evil, "named")),
            logged(|| info!(?evil, "named")),
            logged(|| info!(evil, "named")),
            logged(|| info!("{evil}")),
        ] {
            assert_eq!(line.lines().count(), 1, "{line:?}");
            assert!(line.trim_end().chars().all(|one| !misleads(one)), "{line:?}");
            assert!(line.contains('é'), "{line}");
        }
    }
}
