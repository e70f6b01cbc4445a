//! Reads inputs: literals, and references, which begin with `$`.

use std::collections::BTreeMap;

use super::fields::Place;
use super::values::shown;
use crate::input::Input;
use crate::issue::{IssueCode, Issues, Spot};
use crate::reference::Reference;
use crate::source::Value;

/// A reference to a step, and its place.
#[derive(Debug, Clone)]
pub(super) struct StepReference {
    pub(super) step: String,
    pub(super) spot: Spot,
}

/// Reads the inputs of a step, and adds its references to steps to `found`.
pub(super) fn object(
    place: &Place<'_>,
    found: &mut Vec<StepReference>,
    issues: &mut Issues,
) -> Option<BTreeMap<String, Input>> {
    let entries = place.entries(issues)?;
    let inputs = entries.into_iter().map(|(name, place)| {
        let value = value(&place, found, issues);
        (name.to_owned(), value)
    });
    Some(inputs.collect())
}

/// Reads one value, and adds its references to steps to `found`.
pub(super) fn value(place: &Place<'_>, found: &mut Vec<StepReference>, issues: &mut Issues) -> Input {
    match &place.node.value {
        Value::Text(text) => read_text(text, place, found, issues),
        Value::List(_) => {
            let items = place.items(issues).unwrap_or_default();
            Input::List(items.iter().map(|item| value(item, found, issues)).collect())
        }
        Value::Object(_) => Input::Object(object(place, found, issues).unwrap_or_default()),
        _ => Input::Literal(place.node.to_json()),
    }
}

fn read_text(text: &str, place: &Place<'_>, found: &mut Vec<StepReference>, issues: &mut Issues) -> Input {
    let literal = |text: &str| Input::Literal(crate::json::Json::Text(text.to_owned()));
    if !text.starts_with('$') {
        return literal(text);
    }
    if let Some(rest) = text.strip_prefix('$').filter(|rest| rest.starts_with('$')) {
        return literal(rest);
    }
    match Reference::parse(text) {
        Ok(reference) => {
            found.extend(reference.step().map(|step| StepReference {
                step: step.to_owned(),
                spot: place.spot.clone(),
            }));
            Input::Reference(reference)
        }
        Err(error) => {
            let message = format!("`{}` {error}", shown(text));
            issues.error(&place.spot, IssueCode::InvalidReference, message);
            literal(text)
        }
    }
}
