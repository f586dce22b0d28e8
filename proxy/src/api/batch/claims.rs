//! What is true of a batch, whatever is in it and however it comes in.
//!
//! In: the bytes of a body, and where it is cut. Out: nothing, or a panic that says which claim they break (see
//! [`crate::api::claims`]).

use serde_json::value::RawValue;
use shared::{
    config::ByteSize,
    wire::{Code, Problem},
};

use super::{
    items::{Incoming, Item},
    split::Format,
};
use crate::{
    api::{claims::check_refusal, message::parse_item},
    config::{BatchLimits, MessageLimits},
};

/// Few messages, and short ones: generated input has to reach the bounds.
const MESSAGES: usize = 4;
const BYTES: usize = 80;

/// A batch is the same one wherever it is cut, and a reader that sees the whole at once finds the same messages.
/// Each byte of `cuts` is the length of a piece; the rest is the last piece.
///
/// # Panics
/// If it is not so.
pub fn batch(body: &[u8], cuts: &[u8], lines: bool) {
    let format = if lines { Format::Lines } else { Format::Array };
    let whole = read(format, [body]);
    let in_pieces = read(format, pieces(body, cuts));
    assert_eq!(format!("{whole:?}"), format!("{in_pieces:?}"), "it matters where a batch is cut");
    match &whole {
        Ok((items, _)) => items.iter().filter_map(|item| item.as_ref().err()).for_each(check_item),
        Err(problem) => {
            check_refusal(problem, &[Code::InvalidJson, Code::InvalidField, Code::PayloadTooLarge]);
        }
    }
    let items = whole.map(|(items, _)| items);
    if lines { agrees_on_lines(body, items) } else { agrees_on_an_array(body, items) }
}

fn read<'a>(
    format: Format,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<Item>, String), Problem> {
    let batch = BatchLimits { messages: MESSAGES, ..BatchLimits::default() };
    let limits = limits();
    let mut incoming = Incoming::new(format, (&batch, &limits), false);
    pieces.into_iter().try_for_each(|piece| incoming.feed(piece))?;
    incoming.end()
}

fn limits() -> MessageLimits {
    MessageLimits { body: ByteSize(BYTES), ..MessageLimits::default() }
}

fn pieces<'a>(mut body: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = body.split_at(body.len().min(usize::from(*cut)));
        pieces.push(piece);
        body = rest;
    }
    pieces.push(body);
    pieces
}

fn agrees_on_an_array(body: &[u8], items: Result<Vec<Item>, Problem>) {
    let text = std::str::from_utf8(body);
    let other: Option<Vec<&RawValue>> = text.ok().and_then(|text| serde_json::from_str(text).ok());
    match (items, other) {
        (Ok(items), Some(texts)) => {
            check_items(&items, &texts.iter().map(|text| text.get().as_bytes()).collect::<Vec<_>>());
        }
        // What is too long is passed over unread: whether it is JSON, nobody knows.
        (Ok(items), None) => assert!(items.iter().any(is_too_long), "no JSON array, and taken as one"),
        (Err(problem), Some(texts)) => {
            assert!(texts.is_empty() || texts.len() > MESSAGES, "an array, refused: {}", problem.detail);
        }
        (Err(_), None) => {}
    }
}

fn agrees_on_lines(body: &[u8], items: Result<Vec<Item>, Problem>) {
    let lines = body.split(|byte| *byte == b'\n');
    let lines: Vec<_> = lines.filter(|line| line.len() > BYTES || !line.trim_ascii().is_empty()).collect();
    match items {
        Ok(items) => check_items(&items, &lines),
        Err(problem) => {
            assert!(lines.is_empty() || lines.len() > MESSAGES, "lines, refused: {}", problem.detail);
        }
    }
}

/// Each item is what its text says alone.
fn check_items(items: &[Item], texts: &[&[u8]]) {
    assert_eq!(items.len(), texts.len(), "another number of messages");
    for (item, text) in items.iter().zip(texts) {
        match (item, parse_item(text, &limits())) {
            (Ok(message), Ok(alone)) => assert_eq!(format!("{message:?}"), format!("{alone:?}")),
            (Err(problem), Err(alone)) if problem.code == alone.code => {}
            // with the white space around it, it may be too long
            (Err(problem), _) if problem.code == Code::PayloadTooLarge => {}
            (item, alone) => panic!("{item:?} in a batch, {alone:?} alone"),
        }
    }
}

fn is_too_long(item: &Item) -> bool {
    item.as_ref().is_err_and(|problem| problem.code == Code::PayloadTooLarge)
}

fn check_item(problem: &Problem) {
    let codes =
        [Code::InvalidJson, Code::InvalidField, Code::UnknownField, Code::NotEnabled, Code::PayloadTooLarge];
    check_refusal(problem, &codes);
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const GOOD: &str = r#"{"sender_number":"+12","message_body":"x"}"#;

    fn token() -> impl Strategy<Value = Vec<u8>> {
        let text = select(vec![
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "\"",
            "\\",
            " ",
            "\n",
            "\r\n",
            "\t",
            "\u{c}",
            "1",
            "nul",
            "null",
            "é",
            "\"\\u0061\"",
            "\"\\na\"",
            "\"],\\\"}\"",
            "{\"a\":[1,2]}",
            "1e999",
            GOOD,
        ]);
        prop_oneof![
            9 => text.prop_map(|text| text.as_bytes().to_vec()),
            1 => Just(vec![0xff]),
            1 => (0..100_usize).prop_map(|length| vec![b' '; length]),
            1 => (0..100_usize).prop_map(|length| format!("\"{}\"", "x".repeat(length)).into_bytes()),
        ]
    }

    /// Values one after the other, as a proper array or as lines, or whatever comes.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let list = |open: &'static str, between: &'static str, close: &'static str| {
            let item = vec(token(), 1..3).prop_map(|tokens| tokens.concat());
            vec(item, 0..6).prop_map(move |items| {
                [open.as_bytes(), &items.join(between.as_bytes()), close.as_bytes()].concat()
            })
        };
        prop_oneof![
            list("[", ",", "]"),
            list("[", " ,\n", "] "),
            list("", "\n", ""),
            vec(token(), 0..12).prop_map(|tokens| tokens.concat()),
        ]
    }

    proptest! {
        #[test]
        fn a_batch_does_not_depend_on_how_it_is_cut_and_any_reader_of_json_agrees(
            body in body(), cuts in vec(0..40_u8, 0..12), lines in any::<bool>(),
        ) {
            batch(&body, &cuts, lines);
        }
    }
}
