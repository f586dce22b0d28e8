//! W3C Trace Context: which trace, which span of it, and whether it is recorded (<https://www.w3.org/TR/trace-context/>).
//!
//! In: the header `traceparent`, from whoever sends it. Out: a value that is written anew, in the version known here.
//! Refused: whatever §3.2 does not allow; the trace then begins with us.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;
/// The flags that have a meaning: recorded, and an id that is random.
const KNOWN_FLAGS: u8 = 0b11;
const RECORDED: u8 = 0b1;

/// A span of somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// Reads the header. Of a later version as much is read as this one has (§4.3).
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let version = number(&known[..2])?;
        let ends_as_it_should = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let dashes = [2, 35, 52].iter().all(|&place| known[place] == b'-');
        if !ends_as_it_should || !dashes {
            return None;
        }
        let trace = number(&known[3..35])?;
        let span = u64::try_from(number(&known[36..52])?).ok()?;
        let flags = u8::try_from(number(&known[53..])?).ok()? & KNOWN_FLAGS;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// Whether the trace's beginning decided that it is recorded.
    #[must_use]
    pub const fn is_recorded(self) -> bool {
        self.flags & RECORDED != 0
    }

    pub(super) fn of(context: &SpanContext) -> Self {
        Self {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            flags: context.trace_flags().to_u8() & KNOWN_FLAGS,
        }
    }

    pub(super) fn to_remote(self) -> SpanContext {
        SpanContext::new(
            TraceId::from_bytes(self.trace.to_be_bytes()),
            SpanId::from_bytes(self.span.to_be_bytes()),
            TraceFlags::new(self.flags),
            true,
            TraceState::NONE,
        )
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Hexadecimal, in small letters only.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn written_anew(text: &str) -> Option<String> {
        TraceParent::parse(text.as_bytes()).map(|parent| parent.to_string())
    }

    #[test]
    fn what_the_standard_allows_is_read_and_written_in_the_version_known_here() {
        let unrecorded = GOOD.replace("-01", "-00");
        for (text, expected) in [
            (GOOD, GOOD),
            (&unrecorded, &unrecorded),
            (&GOOD.replace("-01", "-ff"), &GOOD.replace("-01", "-03")),
            (&GOOD.replacen("00-", "01-", 1), GOOD),
            (&(GOOD.replacen("00-", "cc-", 1) + "-what-the-future-will-be-like"), GOOD),
        ] {
            assert_eq!(written_anew(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_it_does_not_allow_is_refused() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &(GOOD.to_owned() + "-x"),
            &(GOOD.to_owned() + "0"),
            &GOOD.replacen("00-", "ff-", 1),
            &(GOOD.replacen("00-", "01-", 1) + ".x"),
            &GOOD.to_uppercase(),
            &GOOD.replace('4', "g"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &("é".repeat(27) + "x"),
        ] {
            assert_eq!(written_anew(bad), None, "{bad}");
        }
    }
}
