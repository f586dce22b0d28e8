//! Where one message of a batch ends and the next begins, found while the body comes in.
//!
//! In: pieces of a body, cut anywhere. Out: the text of one item after the other; no more than one of them is
//! held. Refused: what is no list by its form. Whether an item is a message, its reader says.

use shared::wire::{Code, Problem};

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON array.
    Array,
    /// One JSON text per line; blank lines count for nothing.
    Lines,
}

/// One item.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// Its bytes; none if they are more than an item may have.
    pub(super) bytes: Option<&'a [u8]>,
    /// The line it stands on, from 1, where lines count.
    pub(super) line: Option<usize>,
}

/// Takes the items of a batch apart.
#[derive(Debug)]
pub(super) struct Splitter {
    format: Format,
    most_bytes: usize,
    /// The item that is not complete yet.
    item: Vec<u8>,
    too_long: bool,
    place: Place,
    line: usize,
}

/// Where in an array the next byte stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Before,
    First,
    Next,
    /// In an item: how deep, and whether in a string, and there behind a backslash.
    Item {
        depth: usize,
        string: bool,
        escaped: bool,
    },
    After,
}

impl Splitter {
    /// For items of at most so many bytes.
    pub(super) fn new(format: Format, most_bytes: usize) -> Self {
        Self { format, most_bytes, item: Vec::new(), too_long: false, place: Place::Before, line: 1 }
    }

    /// Takes the next piece of the body, and hands over every item that it completes.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        take: &mut impl FnMut(Text<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        match self.format {
            Format::Array => self.feed_array(piece, take),
            Format::Lines => self.feed_lines(piece, take),
        }
    }

    /// The body is complete: hands over what is left.
    pub(super) fn end(
        mut self,
        take: &mut impl FnMut(Text<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        match (self.format, self.place) {
            (Format::Lines, _) => self.end_of_line(take),
            (Format::Array, Place::After) => Ok(()),
            (Format::Array, Place::Before) => Err(not_an_array("the body is empty")),
            (Format::Array, _) => Err(not_an_array("the body ended before its array did")),
        }
    }

    fn feed_lines(
        &mut self,
        piece: &[u8],
        take: &mut impl FnMut(Text<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            match part.split_last() {
                Some((b'\n', text)) => {
                    self.keep(text);
                    self.end_of_line(take)?;
                    self.line += 1;
                }
                _ => self.keep(part),
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self, take: &mut impl FnMut(Text<'_>) -> Result<(), Problem>) -> Result<(), Problem> {
        if self.too_long || !self.item.trim_ascii().is_empty() {
            self.hand_over(take)?;
        }
        self.item.clear();
        Ok(())
    }

    fn feed_array(
        &mut self,
        mut piece: &[u8],
        take: &mut impl FnMut(Text<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        while !piece.is_empty() {
            // what means nothing here is kept in one go
            let plain = self.place.plain(piece);
            self.keep(&piece[..plain]);
            let Some((byte, rest)) = piece[plain..].split_first() else { break };
            self.feed_byte(*byte, take)?;
            piece = rest;
        }
        Ok(())
    }

    fn feed_byte(
        &mut self,
        byte: u8,
        take: &mut impl FnMut(Text<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.place = match (self.place, byte) {
            (Place::Before | Place::First | Place::Next | Place::After, _) if space => self.place,
            (Place::Before, b'[') => Place::First,
            (Place::Before, _) => return Err(not_an_array("the body must be one JSON array of messages")),
            (Place::First, b']') => Place::After,
            (Place::First | Place::Next, b',' | b']') => {
                return Err(not_an_array("a message is missing beside a comma"));
            }
            (Place::First | Place::Next, _) => {
                self.item.clear();
                self.keep(&[byte]);
                within_item(0, false, false, byte)?
            }
            (Place::Item { depth: 0, string: false, .. }, b',' | b']') => {
                self.hand_over(take)?;
                if byte == b']' { Place::After } else { Place::Next }
            }
            (Place::Item { depth, string, escaped }, _) => {
                self.keep(&[byte]);
                within_item(depth, string, escaped, byte)?
            }
            (Place::After, _) => return Err(not_an_array("something stands after the end of the array")),
        };
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.too_long || self.item.len() + bytes.len() > self.most_bytes {
            self.too_long = true;
            self.item.clear();
        } else {
            self.item.extend_from_slice(bytes);
        }
    }

    fn hand_over(&mut self, take: &mut impl FnMut(Text<'_>) -> Result<(), Problem>) -> Result<(), Problem> {
        let too_long = std::mem::take(&mut self.too_long);
        let line = (self.format == Format::Lines).then_some(self.line);
        take(Text { bytes: (!too_long).then_some(&self.item), line })
    }
}

impl Place {
    /// How many bytes at the front of a piece belong to an item and change nothing.
    fn plain(self, piece: &[u8]) -> usize {
        let ends = |byte: &u8| match self {
            Self::Item { string: true, escaped: false, .. } => matches!(byte, b'"' | b'\\'),
            Self::Item { string: false, .. } => matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b','),
            _ => true,
        };
        piece.iter().position(ends).unwrap_or(piece.len())
    }
}

/// Follows strings and brackets only; which bracket closes which, the item's reader sees.
fn within_item(depth: usize, string: bool, escaped: bool, byte: u8) -> Result<Place, Problem> {
    let (depth, string, escaped) = match byte {
        _ if escaped => (depth, string, false),
        b'\\' if string => (depth, string, true),
        b'"' => (depth, !string, false),
        b'{' | b'[' if !string => (depth + 1, string, false),
        b'}' | b']' if !string => {
            let outer = depth.checked_sub(1);
            (outer.ok_or_else(|| not_an_array("a bracket closes nothing"))?, string, false)
        }
        _ => (depth, string, false),
    };
    Ok(Place::Item { depth, string, escaped })
}

fn not_an_array(text: &str) -> Problem {
    Problem::new(Code::InvalidJson, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The items of a body that comes in pieces of this size; `-` for one that is too long.
    fn items(format: Format, body: &str, piece: usize) -> Result<Vec<String>, Problem> {
        let (mut splitter, mut found) = (Splitter::new(format, 20), Vec::new());
        let mut take = |text: Text<'_>| {
            let bytes = text.bytes.map_or("-".into(), |bytes| String::from_utf8_lossy(bytes));
            let line = text.line.map_or(String::new(), |line| format!("{line}:"));
            found.push(format!("{line}{}", bytes.trim()));
            Ok(())
        };
        body.as_bytes().chunks(piece).try_for_each(|piece| splitter.feed(piece, &mut take))?;
        splitter.end(&mut take)?;
        Ok(found)
    }

    #[test]
    fn an_array_is_taken_apart_wherever_it_is_cut() {
        let body = " [ {\"a\":[1,2]} ,\n{\"b\":\"],\\\"}\"},{\"c\":{\"d\":[]}}, 1 ,\"x,y\" ] \n";
        for piece in 1..=body.len() {
            let found = items(Format::Array, body, piece).unwrap();
            let expected = ["{\"a\":[1,2]}", "{\"b\":\"],\\\"}\"}", "{\"c\":{\"d\":[]}}", "1", "\"x,y\""];
            assert_eq!(found, expected, "{piece}");
        }
        assert!(items(Format::Array, "[ ]", 1).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_array_by_its_form_is_refused() {
        for body in ["", " ", "{}", "[", "[{}", "[{},", "[{},]", "[,{}]", "[{}]]", "[{}] {}", "[}]", "[{}}]"]
        {
            assert!(items(Format::Array, body, 1).is_err(), "{body}");
        }
    }

    #[test]
    fn lines_keep_their_numbers_and_blank_ones_are_none() {
        let body = "\n{\"a\":1}\r\n \t\n{\"b\":2}\nno json\n\n{\"c\":3}";
        for piece in 1..=body.len() {
            let found = items(Format::Lines, body, piece).unwrap();
            assert_eq!(found, ["2:{\"a\":1}", "4:{\"b\":2}", "5:no json", "7:{\"c\":3}"], "{piece}");
        }
        assert!(items(Format::Lines, "\n\n", 1).unwrap().is_empty());
    }

    #[test]
    fn an_item_that_is_too_long_is_passed_over_and_the_next_one_is_not() {
        let long = "x".repeat(30);
        for piece in [1, 7, 1000] {
            let array = format!("[\"{long}\",{{\"a\":1}},[{{\"{long}\":[]}}],2]");
            assert_eq!(items(Format::Array, &array, piece).unwrap(), ["-", "{\"a\":1}", "-", "2"]);
            let lines = format!("{long}\n1\n{long}");
            assert_eq!(items(Format::Lines, &lines, piece).unwrap(), ["1:-", "2:1", "3:-"]);
        }
    }
}
