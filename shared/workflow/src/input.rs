//! The inputs of a step as they are written: literals and references, at any depth.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::json::{Json, serialize_raw, write_list, write_object, write_text};
use crate::reference::Reference;

/// A value of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A value other than a list or an object.
    Literal(Json),
    /// A reference to the context or to the result of a step.
    Reference(Reference),
    /// A list.
    List(Vec<Input>),
    /// An object.
    Object(BTreeMap<String, Input>),
}

impl Input {
    /// Returns the value as it is written in a definition: references begin with `$`, and literal dollars are
    /// doubled.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Literal(Json::Text(text)) if text.starts_with('$') => write_text(&format!("${text}"), out),
            Self::Literal(literal) => literal.write(out),
            Self::Reference(reference) => write_text(&reference.to_string(), out),
            Self::List(items) => write_list(items, out, Self::write),
            Self::Object(entries) => write_object(entries, out, Self::write),
        }
    }

    /// Calls `found` with each reference in it.
    pub fn for_each_reference(&self, found: &mut impl FnMut(&Reference)) {
        match self {
            Self::Literal(_) => {}
            Self::Reference(reference) => found(reference),
            Self::List(items) => items.iter().for_each(|item| item.for_each_reference(found)),
            Self::Object(entries) => entries.values().for_each(|value| value.for_each_reference(found)),
        }
    }
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_raw(self.to_text(), serializer)
    }
}
