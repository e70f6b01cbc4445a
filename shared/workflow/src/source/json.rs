//! Reads JSON text into a tree. Numbers keep their digits.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tasker_core::json::{self, JsonErrorKind, Limits};

use super::{Node, Value, pointer_to};
use crate::issue::{IssueCode, Issues, Spot};
use crate::limits::DEPTH;

/// Parses JSON. `None` after an error that leaves no tree.
pub(crate) fn from_json(text: &str, issues: &mut Issues) -> Option<Node> {
    let raw: &RawValue = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let spot = Spot {
                pointer: String::new(),
                line: u32::try_from(error.line()).unwrap_or(0),
            };
            issues.error(&spot, IssueCode::Syntax, format!("is not JSON: {error}"));
            return None;
        }
    };
    let limits = Limits {
        depth_max: DEPTH,
        unique_keys: false,
    };
    let found = json::errors(text.as_bytes(), limits);
    for error in &found {
        let code = match error.kind {
            JsonErrorKind::TooDeep => IssueCode::TooDeep,
            _ => IssueCode::NotStorable,
        };
        let spot = Spot {
            pointer: error.pointer.clone(),
            line: 0,
        };
        issues.error(&spot, code, error.kind.to_string());
    }
    // a text with half a surrogate pair has no Rust string, and the depth bounds the recursion below
    if !found.is_empty() {
        return None;
    }
    let mut reader = Reader {
        text,
        line_starts: line_starts(text),
        issues,
    };
    reader.node(raw, "")
}

struct Reader<'t, 'i> {
    text: &'t str,
    line_starts: Vec<usize>,
    issues: &'i mut Issues,
}

impl<'t> Reader<'t, '_> {
    /// Reads a value whose syntax is valid. Each level is scanned again by the next, which the depth bounds.
    fn node(&mut self, raw: &'t RawValue, pointer: &str) -> Option<Node> {
        let token = raw.get();
        let value = match token.as_bytes().first()? {
            b'{' => {
                let entries = serde_json::Deserializer::from_str(token)
                    .deserialize_map(Entries)
                    .ok()?;
                self.object(entries, pointer)?
            }
            b'[' => {
                let items = serde_json::Deserializer::from_str(token)
                    .deserialize_seq(Items)
                    .ok()?;
                let nodes = items.into_iter().enumerate().map(|(index, item)| {
                    let pointer = format!("{pointer}/{index}");
                    self.node(item, &pointer)
                });
                Value::List(nodes.collect::<Option<_>>()?)
            }
            b'"' => Value::Text(serde_json::from_str(token).ok()?),
            b'n' => Value::Null,
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            _ => Value::Number(token.to_owned()),
        };
        Some(Node {
            line: self.line(token),
            value,
        })
    }

    fn object(&mut self, entries: Vec<(String, &'t RawValue)>, pointer: &str) -> Option<Value> {
        let mut fields: Vec<(String, Node)> = Vec::with_capacity(entries.len());
        let mut seen = std::collections::HashSet::new();
        for (key, raw) in entries {
            let pointer = pointer_to(pointer, &key);
            let node = self.node(raw, &pointer)?;
            if seen.insert(key.clone()) {
                fields.push((key, node));
            } else {
                let spot = Spot {
                    pointer,
                    line: node.line,
                };
                self.issues.error(
                    &spot,
                    IssueCode::DuplicateField,
                    "appears twice in its object; keep one of them",
                );
            }
        }
        Some(Value::Object(fields))
    }

    /// Returns the line of a token, which is a part of the text.
    fn line(&self, token: &str) -> u32 {
        let offset = (token.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        u32::try_from(line).unwrap_or(u32::MAX)
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(breaks).collect()
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}
