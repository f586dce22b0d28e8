//! Values with units: `"30s"` and `"64KiB"`. A bare number would leave the reader guessing.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

/// A length of time, written `"500ms"`, `"30s"`, `"24h"`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds; for defaults.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many days; for defaults.
    #[must_use]
    pub const fn days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }

    /// So many milliseconds; for defaults.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("`{text}` is not a time such as \"30s\": {error}"))
    }
}

/// A number of bytes, written `"64KiB"`, `"1MiB"` or as an integer.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

impl ByteSize {
    /// So many KiB; for defaults.
    #[must_use]
    pub const fn kib(kib: usize) -> Self {
        Self(kib * 1024)
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(usize),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => parse_bytes(&text).map(Self).ok_or_else(|| {
                Error::custom(format!("`{text}` is not a size such as \"64KiB\" or \"1MiB\""))
            }),
        }
    }
}

fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim() {
        "B" | "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(
            bytes in prop_oneof![any::<usize>(), (0..2000_usize).prop_map(|kib| kib << 10), (0..2000_usize).prop_map(|mib| mib << 20)],
            seconds in prop_oneof![0..1000_u64, 0..=u64::from(u32::MAX)], nanos in 0..1_000_000_000_u32,
        ) {
            prop_assert_eq!(parse_bytes(&format!("{:?}", ByteSize(bytes))), Some(bytes));
            for nanos in [0, nanos] {
                let span = Span(Duration::new(seconds, nanos));
                prop_assert_eq!(format!("{span:?}").parse(), Ok(span));
            }
        }

        #[test]
        fn a_size_is_digits_and_a_unit_or_refused(text in "[0-9]{0,22} ?(B|KiB|MiB|GiB|K|kib|TiB|-1|é)?") {
            let expected = text.trim_end_matches(|one: char| !one.is_ascii_digit()).parse::<usize>().ok();
            let unit = text.trim_start_matches(|one: char| one.is_ascii_digit()).trim();
            let shift = [("", 0), ("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30)].iter().find(|one| one.0 == unit);
            let expected = expected.and_then(|number| number.checked_mul(1 << shift?.1));
            prop_assert_eq!(parse_bytes(&text), expected);
        }
    }

    #[test]
    fn sizes_have_binary_units_only() {
        assert_eq!(parse_bytes("64KiB"), Some(65_536));
        assert_eq!(parse_bytes("1 MiB"), Some(1 << 20));
        assert_eq!(parse_bytes("7"), Some(7));
        for bad in ["64kb", "1MB", "-1", "KiB", "", "99999999999999999999GiB"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
