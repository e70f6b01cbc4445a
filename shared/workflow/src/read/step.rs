//! Reads one step. Names of other steps are checked later, when all steps are known.

use std::time::Duration;

use super::fields::{Fields, Place};
use super::inputs::{self, StepReference};
use super::{retry, values, without_effect};
use crate::definition::{Edge, Retry, Step, StepSelector};
use crate::edge::EdgePolicy;
use crate::issue::{IssueCode, Issues, Spot};
use crate::limits;

/// Fields of later releases.
const REFUSED: &[&str] = &[
    "when",
    "join",
    "map",
    "wait_for",
    "delay",
    "workflow",
    "compensate",
    "unique",
];

/// A step whose edges and references are not checked yet.
pub(super) struct DraftStep {
    /// The step, without its edges.
    pub(super) step: Step,
    pub(super) spot: Spot,
    pub(super) needs: Vec<DraftEdge>,
    pub(super) references: Vec<StepReference>,
}

impl DraftStep {
    /// Returns the step with its edges as they are written.
    pub(super) fn into_step(self) -> Step {
        let needs = self.needs.into_iter().map(|edge| Edge {
            step: edge.step,
            on_failure: edge.on_failure.unwrap_or_default(),
        });
        Step {
            needs: needs.collect(),
            ..self.step
        }
    }
}

/// An edge as it is written.
pub(super) struct DraftEdge {
    pub(super) step: String,
    pub(super) on_failure: Option<EdgePolicy>,
    pub(super) spot: Spot,
}

/// The settings of steps that set none themselves.
#[derive(Clone, Copy, Default)]
pub(super) struct StepDefaults {
    pub(super) retry: Retry,
    pub(super) timeout: Option<Duration>,
}

/// Reads a step; `None` if it is not an object.
pub(super) fn read(place: &Place<'_>, defaults: StepDefaults, issues: &mut Issues) -> Option<DraftStep> {
    let mut fields = Fields::of(place, issues)?;
    let mut references = Vec::new();
    let (name, spot) = read_name(&mut fields, place, issues);
    let description = fields
        .take(&["description"], issues)
        .and_then(|place| values::description(&place, issues));
    let refused = fields.refuse(REFUSED, issues);
    let (run, with) = run_and_with(&mut fields, refused, issues);
    let run = run.and_then(|place| values::task_type(&place, issues));
    let inputs = with.and_then(|place| inputs::object(&place, &mut references, issues));
    let needs = needs(&mut fields, issues);
    let retry = fields
        .take(&["retry"], issues)
        .and_then(|place| retry::read(&place, issues))
        .unwrap_or_default();
    let step = Step {
        name,
        description: description.unwrap_or_default(),
        run: run.unwrap_or_default().to_owned(),
        inputs,
        needs: Vec::new(),
        on_failure: on_failure(&mut fields, issues),
        retry: retry.applied_to(defaults.retry),
        timeout: timeout(&mut fields, issues).or(defaults.timeout),
        queue: fields
            .take(&["queue"], issues)
            .and_then(|place| values::queue(&place, issues)),
        priority: fields
            .take(&["priority"], issues)
            .and_then(|place| values::priority(&place, issues)),
        without_effect: without_effect(&mut fields, &["system_dependency", "publishes_events"], issues),
    };
    fields.finish(issues);
    Some(DraftStep {
        step,
        spot,
        needs,
        references,
    })
}

/// Returns the name as it is written, so that edges to a step with an invalid name find it.
fn read_name(fields: &mut Fields<'_>, step: &Place<'_>, issues: &mut Issues) -> (String, Spot) {
    let Some(place) = fields.require(&["name"], issues) else {
        return (String::new(), step.spot.clone());
    };
    let name = values::text(&place, issues);
    if name.is_some() {
        values::name(&place, issues);
    }
    if name == Some(StepSelector::ALL) {
        let message = "is `ALL`, which means all steps in `environments`; choose another name";
        issues.error(&place.spot, IssueCode::ReservedName, message);
    }
    (name.unwrap_or_default().to_owned(), place.spot)
}

/// The values of a handler in the form of the source.
#[derive(Default)]
struct Handler<'n> {
    callable: Option<Place<'n>>,
    initialization: Option<Place<'n>>,
}

/// Takes `handler`, of which `callable` is required in a step.
fn handler<'n>(fields: &mut Fields<'n>, is_step: bool, issues: &mut Issues) -> Option<Handler<'n>> {
    let place = fields.take(&["handler"], issues)?;
    let Some(mut nested) = Fields::of(&place, issues) else {
        return Some(Handler::default());
    };
    let callable = if is_step {
        nested.require(&["callable"], issues)
    } else {
        None
    };
    let initialization = nested.take(&["initialization"], issues);
    nested.finish(issues);
    Some(Handler {
        callable,
        initialization,
    })
}

/// Takes the task type and the inputs, in the short form or in that of the source.
fn run_and_with<'n>(
    fields: &mut Fields<'n>,
    refused: bool,
    issues: &mut Issues,
) -> (Option<Place<'n>>, Option<Place<'n>>) {
    let handler = handler(fields, true, issues);
    // a step of a later release has other fields in place of `run`
    let run = if handler.is_some() || refused {
        fields.take(&["run"], issues)
    } else {
        fields.require(&["run"], issues)
    };
    let with = fields.take(&["with"], issues);
    let handler = handler.unwrap_or_default();
    let run = one_of_two(run, handler.callable, "handler.callable", issues);
    let with = one_of_two(with, handler.initialization, "handler.initialization", issues);
    (run, with)
}

/// Takes the inputs of overrides, in the short form or in that of the source.
pub(super) fn with<'n>(fields: &mut Fields<'n>, issues: &mut Issues) -> Option<Place<'n>> {
    let handler = handler(fields, false, issues).unwrap_or_default();
    let with = fields.take(&["with"], issues);
    one_of_two(with, handler.initialization, "handler.initialization", issues)
}

/// Returns the value that is given; an error if both are.
fn one_of_two<'n>(
    short: Option<Place<'n>>,
    long: Option<Place<'n>>,
    long_name: &str,
    issues: &mut Issues,
) -> Option<Place<'n>> {
    if let (Some(short), Some(_)) = (&short, &long) {
        let message = format!("is another name of `{long_name}`; keep one of them");
        issues.error(&short.spot, IssueCode::ConflictingFields, message);
    }
    short.or(long)
}

fn needs(fields: &mut Fields<'_>, issues: &mut Issues) -> Vec<DraftEdge> {
    let Some(place) = fields.take(&["needs", "dependencies"], issues) else {
        return Vec::new();
    };
    let items = place.items(issues).unwrap_or_default();
    items.iter().filter_map(|item| edge(item, issues)).collect()
}

/// Reads an edge: the name of a step, or an object with its name and a policy.
fn edge(place: &Place<'_>, issues: &mut Issues) -> Option<DraftEdge> {
    if !place.is_object() {
        return Some(DraftEdge {
            step: values::text(place, issues)?.to_owned(),
            on_failure: None,
            spot: place.spot.clone(),
        });
    }
    let mut fields = Fields::of(place, issues)?;
    let step = fields.require(&["step"], issues);
    let on_failure = fields
        .take(&["on_failure"], issues)
        .and_then(|place| values::one_of(&place, EdgePolicy::NAMES, issues));
    fields.finish(issues);
    let step = step?;
    Some(DraftEdge {
        step: values::text(&step, issues)?.to_owned(),
        on_failure,
        spot: step.spot,
    })
}

fn on_failure(fields: &mut Fields<'_>, issues: &mut Issues) -> EdgePolicy {
    let Some(place) = fields.take(&["on_failure"], issues) else {
        return EdgePolicy::default();
    };
    let policy = values::one_of(&place, EdgePolicy::NAMES, issues).unwrap_or_default();
    if policy == EdgePolicy::Only {
        let message = "cannot be `only`, which is for single edges; write `needs: [{step: …, on_failure: only}]` in \
                       the step behind";
        issues.error(&place.spot, IssueCode::UnknownValue, message);
    }
    policy
}

/// Reads a timeout under one of its names.
pub(super) fn timeout(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<Duration> {
    let place = fields.take(&["timeout", "timeout_seconds"], issues)?;
    values::positive_duration(&place, limits::TIMEOUT, issues)
}
