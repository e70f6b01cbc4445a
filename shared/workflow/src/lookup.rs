//! Finds a value in JSON text by its path, without changing a byte of it.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::reference::Part;

/// Returns the text of the value at `path`; `None` if there is none. Of a key that appears twice the last one
/// counts, as in Postgres.
pub(crate) fn find<'t>(text: &'t str, path: &[Part]) -> Option<&'t str> {
    let mut value = text.trim();
    for part in path {
        let mut reader = serde_json::Deserializer::from_str(value);
        let found = match (part, value.as_bytes().first()?) {
            (Part::Field(name), b'{') => reader.deserialize_map(Field(name)),
            (Part::Item(index), b'[') => reader.deserialize_seq(Item(*index)),
            _ => return None,
        };
        value = found.ok()??.get();
    }
    Some(value)
}

struct Field<'n>(&'n str);

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct Item(usize);

impl<'de> Visitor<'de> for Item {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut index = 0;
        // all of it, since a visitor must not leave items behind
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if index == self.0 {
                found = Some(item);
            }
            index += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, path: &str) -> Option<String> {
        let reference = crate::reference::Reference::parse(&format!("$a{path}")).expect("valid");
        find(text, &reference.path).map(str::to_owned)
    }

    #[test]
    fn a_value_is_found_with_its_digits_and_white_space() {
        let text = r#" {"a": [ {"b": 1.10}, {"b" : [1,  2]} ], "ä": "\u00e4"} "#;
        assert_eq!(at(text, ".a[0].b").as_deref(), Some("1.10"));
        assert_eq!(at(text, ".a[1].b").as_deref(), Some("[1,  2]"));
        assert_eq!(at(text, ".ä").as_deref(), Some("\"\\u00e4\""));
        assert_eq!(at(text, ""), Some(text.trim().to_owned()));
    }

    #[test]
    fn a_path_that_is_not_there_finds_no_value() {
        let text = r#"{"a": [1], "n": null}"#;
        for path in [".b", ".a[1]", ".a.x", "[0]", ".n.x", ".a[0].x"] {
            assert_eq!(at(text, path), None, "{path}");
        }
        assert_eq!(at("not JSON", ".a"), None);
    }

    #[test]
    fn of_a_key_that_appears_twice_the_last_one_counts() {
        assert_eq!(at(r#"{"a": 1, "a": 2}"#, ".a").as_deref(), Some("2"));
    }
}
