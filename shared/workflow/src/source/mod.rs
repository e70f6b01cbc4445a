//! The text of a definition as a tree whose values know their lines.

mod json;
mod scalar;
mod yaml;

pub(crate) use json::from_json;
pub(crate) use yaml::from_yaml;

use crate::json::Json;

/// A value of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its line, counted from 1; of the value of a field the line of the field's name.
    pub(crate) line: u32,
    pub(crate) value: Value,
}

/// The kinds of values. Fields keep their order, and doubled ones are errors of the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Returns the value without its lines.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(bool) => Json::Bool(*bool),
            Value::Number(digits) => Json::Number(digits.clone()),
            Value::Text(text) => Json::Text(text.clone()),
            Value::List(items) => Json::List(items.iter().map(Self::to_json).collect()),
            Value::Object(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_json()))
                    .collect(),
            ),
        }
    }

    /// Returns the name of the value's type, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// Returns the pointer to a field or item of the value at `pointer`.
pub(crate) fn pointer_to(pointer: &str, part: &str) -> String {
    format!("{pointer}/{}", tasker_core::json::escaped(part))
}
