//! A client's own JSON object, checked but not interpreted.
//!
//! It travels as text, so that numbers keep every digit. Refused: repeated names (two readers could see
//! two different values), deep nesting, names and strings that are no Unicode.

use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::members::shown;

/// Deeper than any sensible metadata, and shallow enough for every reader down the road.
const MAX_DEPTH: usize = 32;

/// Checks an object's text and takes its insignificant white space away: it has to fit in one line later.
/// The error says what is wrong with it.
pub(super) fn compact(raw: &RawValue) -> Result<Box<RawValue>, String> {
    let text = raw.get();
    if !text.starts_with('{') {
        return Err("must be a JSON object".into());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Checked { depth: 1 }).map_err(|error| error.to_string())?;
    RawValue::from_string(without_space(text)).map_err(|error| error.to_string())
}

fn without_space(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    text.chars()
        .filter(|c| {
            if in_string {
                in_string = escaped || *c != '"';
                escaped = !escaped && *c == '\\';
                return true;
            }
            in_string = *c == '"';
            !c.is_ascii_whitespace()
        })
        .collect()
}

/// Visits a value and everything in it, keeping nothing.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("the name {:?} stands twice", shown(&name))));
            }
            names.insert(name);
            map.next_value_seed(inner)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(text: &str) -> Result<String, String> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        compact(raw).map(|raw| raw.get().to_owned())
    }

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        let text = "{ \"a b\" : [ 1.0000000000000000001 , \"x \\\" \\\\\" ] ,\n\t\"é\": null }";
        let expected = "{\"a b\":[1.0000000000000000001,\"x \\\" \\\\\"],\"é\":null}";
        assert_eq!(compacted(text).as_deref(), Ok(expected));
    }

    #[test]
    fn repeated_names_deep_nesting_and_other_types_are_refused() {
        assert!(compacted(r#"{"a":{"b":1,"b":2}}"#).unwrap_err().contains("twice"));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
        assert!(compacted(&deep).unwrap_err().contains("deeper"));
        assert!(compacted("[1]").is_err());
        assert!(compacted(r#"{"a":"\ud800"}"#).is_err());
    }
}
