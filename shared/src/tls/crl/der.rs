//! A strict reader of DER (X.690 §10), which copies nothing.
//!
//! In: bytes. Out: elements, as slices of them. Refused: lengths that are indefinite, not minimal or longer than
//! the input, tags of several bytes, and whatever is not at the place where it belongs. A general parser
//! would keep an allocation for each of a million entries; this one keeps none.

use time::{Date, Month};

use super::CrlFault;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// One element: its tag, its contents, and both with the length between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) contents: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// What is still to be read of some contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

const ENDS_EARLY: CrlFault = CrlFault::Malformed("it ends early");

impl<'a> Reader<'a> {
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element.
    pub(super) fn next_tag(self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, whatever it is.
    pub(super) fn element(&mut self) -> Result<Element<'a>, CrlFault> {
        let (&[tag, first], rest) = self.0.split_first_chunk().ok_or(ENDS_EARLY)?;
        if tag & 0x1f == 0x1f {
            return Err(CrlFault::Malformed("a tag of several bytes"));
        }
        let (length, contents) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, contents) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(ENDS_EARLY)?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                if bytes[0] == 0 || length < 0x80 {
                    return Err(CrlFault::Malformed("a length that is not minimal"));
                }
                (length, contents)
            }
            _ => return Err(CrlFault::Malformed("a length that is not definite or too long")),
        };
        let (contents, after) = contents.split_at_checked(length).ok_or(ENDS_EARLY)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Ok(Element { tag, contents, whole })
    }

    /// The contents of the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8, what: &'static str) -> Result<&'a [u8], CrlFault> {
        match self.element()? {
            element if element.tag == tag => Ok(element.contents),
            _ => Err(CrlFault::Malformed(what)),
        }
    }

    /// The contents of the next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, CrlFault> {
        if self.next_tag() == Some(tag) { Ok(Some(self.element()?.contents)) } else { Ok(None) }
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), CrlFault> {
        if self.is_empty() { Ok(()) } else { Err(CrlFault::Malformed("something follows its end")) }
    }
}

/// `UTCTime` or `GeneralizedTime` in the forms of RFC 5280 §4.1.2.5, as Unix seconds.
pub(super) fn seconds(element: Element<'_>) -> Result<i64, CrlFault> {
    const BROKEN: CrlFault = CrlFault::Malformed("a time that does not parse");
    let (year_digits, text) = match (element.tag, element.contents) {
        (UTC_TIME, [text @ .., b'Z']) if text.len() == 12 => (2, text),
        (GENERALIZED_TIME, [text @ .., b'Z']) if text.len() == 14 => (4, text),
        _ => return Err(BROKEN),
    };
    if !text.iter().all(u8::is_ascii_digit) {
        return Err(BROKEN);
    }
    let number = |digits: &[u8]| digits.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let (year, rest) = text.split_at(year_digits);
    let year = match number(year) {
        short @ 0..50 if year_digits == 2 => 2000 + short,
        short if year_digits == 2 => 1900 + short,
        year => year,
    };
    // two digits fit into a byte
    #[expect(clippy::cast_possible_truncation, reason = "two decimal digits")]
    let pair = |index: usize| number(&rest[2 * index..2 * index + 2]) as u8;
    let month = Month::try_from(pair(0)).map_err(|_| BROKEN)?;
    Date::from_calendar_date(i32::from(year), month, pair(1))
        .and_then(|date| date.with_hms(pair(2), pair(3), pair(4)))
        .map(|moment| moment.assume_utc().unix_timestamp())
        .map_err(|_| BROKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal_definite_and_inside_the_input() {
        let read = |bytes: &'static [u8]| Reader::of(bytes).element().map(|element| element.contents);
        assert_eq!(read(&[0x30, 1, 7]), Ok(&[7_u8][..]));
        for bad in [&[0x30][..], &[0x30, 1], &[0x30, 0x80, 0, 0], &[0x30, 0x81, 1, 7], &[0x30, 0x82, 0, 0x80]]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        for bad in [&[0x30, 0x85, 1, 0, 0, 0, 0][..], &[0x3f, 1, 7], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_are_read_in_the_two_forms_of_rfc_5280_and_in_no_other() {
        let read = |tag, contents: &'static str| {
            seconds(Element { tag, contents: contents.as_bytes(), whole: &[] }).ok()
        };
        assert_eq!(read(UTC_TIME, "700101000001Z"), Some(1));
        assert_eq!(read(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        for bad in ["7001010000Z", "700101000001+0100", "701301000000Z", "700230000000Z", "7001010000x1Z", ""]
        {
            assert_eq!(read(UTC_TIME, bad), None, "{bad}");
        }
        assert_eq!(read(GENERALIZED_TIME, "20500101000000.5Z"), None);
    }
}
