//! Reads definitions from JSON or YAML and validates them. One pass finds all errors.

mod environment;
mod fields;
mod graph;
mod inputs;
mod retry;
mod step;
mod values;
mod workflow;

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::definition::{Definition, Step};
use crate::issue::{InvalidDefinition, Issue, IssueCode, Issues, Spot};
use crate::json::Json;
use crate::limits;
use crate::source::{self, Node};

use fields::{Fields, Place};
use step::{DraftStep, StepDefaults};

/// A valid definition, and what its author should know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The definition in its normalised form.
    pub definition: Definition,
    /// Warnings: fields without an effect.
    pub warnings: Vec<Issue>,
}

/// What a caller adds to the validation.
#[derive(Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Fields of the object that the caller reads itself, such as `context` and `tags` of a request.
    pub other_fields: &'static [&'static str],
    /// Checks that the JSON text of the input schema is a JSON Schema; returns its errors. Without it a
    /// schema is only checked to be an object.
    pub check_schema: Option<&'a SchemaCheck>,
}

/// A check of the JSON text of a schema.
pub type SchemaCheck = dyn Fn(&str) -> Vec<SchemaError>;

/// An error in a JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// The place within the schema, as a JSON pointer.
    pub pointer: String,
    /// The error; continues after the pointer.
    pub message: String,
}

/// Reads a definition in JSON.
pub fn from_json(text: &str, options: ReadOptions<'_>) -> Result<Checked, InvalidDefinition> {
    read(text, options, source::from_json)
}

/// Reads a definition in YAML 1.2, with anchors, aliases and merge keys.
pub fn from_yaml(text: &str, options: ReadOptions<'_>) -> Result<Checked, InvalidDefinition> {
    read(text, options, source::from_yaml)
}

/// Reads a definition in JSON if the text is JSON, else in YAML.
pub fn from_text(text: &str, options: ReadOptions<'_>) -> Result<Checked, InvalidDefinition> {
    if is_json(text) {
        from_json(text, options)
    } else {
        from_yaml(text, options)
    }
}

/// Reads a value that need not be a definition, such as the body of a start. Reads JSON if the text is JSON,
/// else YAML.
pub fn value_from_text(text: &str) -> Result<Json, InvalidDefinition> {
    let mut issues = Issues::default();
    let parse = if is_json(text) {
        source::from_json
    } else {
        source::from_yaml
    };
    let root = parse_bounded(text, &mut issues, parse);
    issues.finish()?;
    root.map(|root| root.to_json())
        .ok_or_else(|| InvalidDefinition { issues: Vec::new() })
}

/// Returns true if the text is JSON of a length that is read.
pub fn is_json(text: &str) -> bool {
    // nearly all JSON is YAML too, but not all of it: keys, for one, may be longer
    text.len() <= limits::DEFINITION_BYTES && serde_json::from_str::<&RawValue>(text).is_ok()
}

fn read(
    text: &str,
    options: ReadOptions<'_>,
    parse: impl FnOnce(&str, &mut Issues) -> Option<Node>,
) -> Result<Checked, InvalidDefinition> {
    let mut issues = Issues::default();
    let definition = parse_bounded(text, &mut issues, parse)
        .and_then(|root| workflow::read(&Place::root(&root), options, &mut issues));
    if let Some(definition) = definition.as_ref().filter(|_| !issues.has_errors()) {
        let bytes = definition.to_json().len();
        if bytes > limits::NORMALISED_BYTES {
            let message = format!(
                "has {bytes} bytes in its normalised form; at most {} are allowed: use fewer edges",
                limits::NORMALISED_BYTES
            );
            issues.error(&whole(), IssueCode::TooLarge, message);
        }
    }
    finish(definition, issues)
}

/// Parses a text, unless it is too long.
fn parse_bounded(
    text: &str,
    issues: &mut Issues,
    parse: impl FnOnce(&str, &mut Issues) -> Option<Node>,
) -> Option<Node> {
    if text.len() <= limits::DEFINITION_BYTES {
        return parse(text, issues);
    }
    let message = format!(
        "has {} bytes; at most {} are allowed",
        text.len(),
        limits::DEFINITION_BYTES
    );
    issues.error(&whole(), IssueCode::TooLarge, message);
    None
}

fn whole() -> Spot {
    Spot {
        pointer: String::new(),
        line: 0,
    }
}

/// Returns the definition, or the errors if there are any.
fn finish(definition: Option<Definition>, mut issues: Issues) -> Result<Checked, InvalidDefinition> {
    if definition.is_none() && !issues.has_errors() {
        let start = Spot {
            pointer: String::new(),
            line: 1,
        };
        issues.error(&start, IssueCode::Syntax, "cannot be read");
    }
    let warnings = issues.finish()?;
    definition
        .map(|definition| Checked { definition, warnings })
        .ok_or_else(|| InvalidDefinition { issues: Vec::new() })
}

/// Reads a stored definition: its normalised form, by the same rules.
impl<'de> Deserialize<'de> for Definition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        from_stored(text.get()).map_err(D::Error::custom)
    }
}

/// Reads the normalised JSON of a definition.
pub fn from_stored(text: &str) -> Result<Definition, InvalidDefinition> {
    let mut issues = Issues::default();
    let definition = source::from_json(text, &mut issues)
        .and_then(|root| workflow::read(&Place::root(&root), ReadOptions::default(), &mut issues));
    finish(definition, issues).map(|checked| checked.definition)
}

/// Reads the normalised JSON of one step of a valid definition, as each step of a workflow carries it.
pub fn step_from_stored(text: &str) -> Result<Step, InvalidDefinition> {
    let mut issues = Issues::default();
    let draft = source::from_json(text, &mut issues)
        .and_then(|root| step::read(&Place::root(&root), StepDefaults::default(), &mut issues));
    issues.finish()?;
    draft
        .map(DraftStep::into_step)
        .ok_or_else(|| InvalidDefinition { issues: Vec::new() })
}

/// Takes fields of the source format that are kept without an effect, with a warning for each.
fn without_effect(
    fields: &mut Fields<'_>,
    names: &'static [&'static str],
    issues: &mut Issues,
) -> BTreeMap<String, Json> {
    let mut kept = BTreeMap::new();
    for name in names {
        if let Some(place) = fields.take_one(name) {
            let message = format!("`{name}` is kept, but has no effect");
            issues.warning(&place.spot, IssueCode::NoEffect, message);
            kept.insert((*name).to_owned(), place.node.to_json());
        }
    }
    kept
}

#[cfg(test)]
mod tests;
