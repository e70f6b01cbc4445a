//! Reads the fields of a definition.

use semver::Version;

use super::fields::{Fields, Place};
use super::graph::{self, References};
use super::step::{self, DraftStep, StepDefaults};
use super::{ReadOptions, environment, inputs, retry, values, without_effect};
use crate::definition::{Definition, FailureReaction, Retry};
use crate::instance_name::InstanceName;
use crate::issue::{IssueCode, Issues, Spot};
use crate::json::Json;
use crate::limits;
use crate::source::Value;

/// Fields of later releases.
const REFUSED: &[&str] = &["unique", "when", "map", "delay", "wait_for", "compensate"];

/// Fields of the source format without an effect.
const WITHOUT_EFFECT: &[&str] = &["task_handler", "system_dependencies", "domain_events"];

/// Reads a definition; `None` if it is not an object. It is valid if there are no errors.
pub(super) fn read(place: &Place<'_>, options: ReadOptions<'_>, issues: &mut Issues) -> Option<Definition> {
    let mut fields = Fields::of(place, issues)?;
    fields.ignore(options.other_fields);
    fields.refuse(REFUSED, issues);
    let name = fields
        .require(&["name"], issues)
        .and_then(|place| values::name(&place, issues));
    let namespace = fields
        .take(&["namespace", "namespace_name"], issues)
        .and_then(|place| values::namespace(&place, issues));
    let (mut of_output, mut overrides) = (Vec::new(), Vec::new());
    let mut definition = Definition {
        namespace: namespace.unwrap_or("default").to_owned(),
        name: name.unwrap_or_default().to_owned(),
        version: version(&mut fields, issues),
        description: fields
            .take(&["description"], issues)
            .and_then(|place| values::description(&place, issues))
            .unwrap_or_default(),
        metadata: fields
            .take(&["metadata"], issues)
            .and_then(|place| values::object(&place, issues)),
        input_schema: input_schema(&mut fields, options, issues),
        instance_name: instance_name(&mut fields, issues),
        deadline: fields
            .take(&["deadline"], issues)
            .and_then(|place| values::positive_duration(&place, limits::DEADLINE, issues)),
        priority: fields
            .take(&["priority"], issues)
            .and_then(|place| values::priority(&place, issues)),
        queue: fields
            .take(&["queue"], issues)
            .and_then(|place| values::queue(&place, issues)),
        on_failure: on_failure(&mut fields, issues),
        output: fields
            .take(&["output"], issues)
            .map(|place| inputs::value(&place, &mut of_output, issues)),
        environments: fields
            .take(&["environments"], issues)
            .map(|place| environment::read(&place, &mut overrides, issues))
            .unwrap_or_default(),
        without_effect: without_effect(&mut fields, WITHOUT_EFFECT, issues),
        steps: Vec::new(),
    };
    let drafts = steps(&mut fields, issues);
    fields.finish(issues);
    let references = References { of_output, overrides };
    definition.steps = graph::connect(drafts, &references, issues);
    Some(definition)
}

fn steps(fields: &mut Fields<'_>, issues: &mut Issues) -> Vec<DraftStep> {
    let defaults = StepDefaults {
        retry: fields
            .take(&["retry"], issues)
            .and_then(|place| retry::read(&place, issues))
            .unwrap_or_default()
            .applied_to(Retry::default()),
        timeout: step::timeout(fields, issues),
    };
    let Some(place) = fields.require(&["steps"], issues) else {
        return Vec::new();
    };
    let Some(items) = place.items(issues) else {
        return Vec::new();
    };
    if !(1..=limits::STEPS).contains(&items.len()) {
        let message = format!("must be 1 to {} steps, not {}", limits::STEPS, items.len());
        issues.error(&place.spot, IssueCode::StepCount, message);
        // the checks between steps would take time in proportion to the square of their number
        return Vec::new();
    }
    items
        .iter()
        .filter_map(|item| step::read(item, defaults, issues))
        .collect()
}

fn version(fields: &mut Fields<'_>, issues: &mut Issues) -> Version {
    let default = Version::new(1, 0, 0);
    let Some(place) = fields.take(&["version"], issues) else {
        return default;
    };
    let given = match &place.node.value {
        Value::Text(text) | Value::Number(text) => text.as_str(),
        _ => "",
    };
    match Version::parse(given) {
        Ok(version) if given.len() <= limits::VERSION_BYTES => version,
        Ok(_) => {
            let message = format!("must be at most {} characters", limits::VERSION_BYTES);
            issues.error(&place.spot, IssueCode::OutOfRange, message);
            default
        }
        Err(error) => {
            let message = format!("must be a version such as 1.0.0 or 2.0.0-beta.1: {error}");
            issues.error(&place.spot, IssueCode::InvalidName, message);
            default
        }
    }
}

fn input_schema(fields: &mut Fields<'_>, options: ReadOptions<'_>, issues: &mut Issues) -> Option<Json> {
    let place = fields.take(&["input_schema"], issues)?;
    let schema = values::object(&place, issues)?;
    if let Some(check) = options.check_schema {
        for error in check(&schema.to_text()) {
            let spot = Spot {
                pointer: format!("{}{}", place.spot.pointer, error.pointer),
                line: place.spot.line,
            };
            issues.error(&spot, IssueCode::InvalidSchema, error.message);
        }
    }
    Some(schema)
}

fn instance_name(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<InstanceName> {
    let place = fields.take(&["instance_name"], issues)?;
    let text = values::text(&place, issues)?;
    InstanceName::parse(text)
        .map_err(|error| issues.error(&place.spot, IssueCode::InvalidReference, error.to_string()))
        .ok()
}

fn on_failure(fields: &mut Fields<'_>, issues: &mut Issues) -> FailureReaction {
    let Some(place) = fields.take(&["on_failure"], issues) else {
        return FailureReaction::default();
    };
    if place.node.value == Value::Text("compensate".to_owned()) {
        let message = "`compensate` is not supported yet; use `block` or `error`";
        issues.error(&place.spot, IssueCode::NotSupportedYet, message);
        return FailureReaction::default();
    }
    values::one_of(&place, FailureReaction::NAMES, issues).unwrap_or_default()
}
