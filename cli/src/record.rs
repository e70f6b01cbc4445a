//! JSON objects of the server, kept verbatim for display.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON object as raw text per field, in the server's order: values are neither parsed nor rounded.
#[derive(Debug, Default)]
pub(crate) struct Record(pub(crate) Vec<(String, Box<RawValue>)>);

impl Record {
    /// Returns name and text of each field that is not null; strings lose their quotes.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        // null means `not yet` or `does not apply`
        self.0
            .iter()
            .filter(|(_, value)| value.get() != "null")
            .map(|(name, value)| vec![name.clone(), plain(value)])
            .collect()
    }
}

/// Formats a value for display: a string without its quotes, other values as JSON.
pub(crate) fn plain(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
                // a list and not a map, to keep the order of the server
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Record(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_order_and_notation_and_leaves_out_nulls() {
        let text = r#"{"task_id":"x","b":{"n":1.10},"a":null,"c":"two\nlines"}"#;
        let record: Record = serde_json::from_str(text).expect("an object");
        let rows: Vec<String> = record.rows().iter().map(|row| row.join("=")).collect();
        assert_eq!(rows, ["task_id=x", r#"b={"n":1.10}"#, "c=two\nlines"]);
    }

    #[test]
    fn a_record_may_be_nested_deeper_than_a_parser_would_follow() {
        let text = format!("{{\"parameters\":{}{}}}", "[".repeat(500), "]".repeat(500));
        assert!(serde_json::from_str::<Record>(&text).is_ok());
    }
}
