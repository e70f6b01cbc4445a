//! Reads the changes for environments.

use std::collections::BTreeMap;

use super::fields::{Fields, Place};
use super::inputs::{self, StepReference};
use super::{retry, step, values};
use crate::definition::{Environment, Overrides, StepSelector};
use crate::issue::{Issues, Spot};
use crate::limits;

/// Overrides of which the names of steps and the references are not checked yet.
pub(super) struct DraftOverrides {
    pub(super) steps: StepSelector,
    /// The place of the name.
    pub(super) name: Spot,
    /// The place of the inputs, if it has some.
    pub(super) inputs: Option<Spot>,
    pub(super) references: Vec<StepReference>,
}

/// Reads all environments; adds their overrides to `drafts`.
pub(super) fn read(
    place: &Place<'_>,
    drafts: &mut Vec<DraftOverrides>,
    issues: &mut Issues,
) -> BTreeMap<String, Environment> {
    let entries = place.entries(issues).unwrap_or_default();
    let environments = entries.into_iter().filter_map(|(name, place)| {
        values::check_name(name, &place.spot, issues);
        Some((name.to_owned(), environment(&place, drafts, issues)?))
    });
    environments.collect()
}

fn environment(
    place: &Place<'_>,
    drafts: &mut Vec<DraftOverrides>,
    issues: &mut Issues,
) -> Option<Environment> {
    let mut fields = Fields::of(place, issues)?;
    let steps = fields
        .take(&["steps"], issues)
        .and_then(|place| place.items(issues))
        .unwrap_or_default();
    let environment = Environment {
        deadline: fields
            .take(&["deadline"], issues)
            .and_then(|place| values::positive_duration(&place, limits::DEADLINE, issues)),
        priority: fields
            .take(&["priority"], issues)
            .and_then(|place| values::priority(&place, issues)),
        queue: fields
            .take(&["queue"], issues)
            .and_then(|place| values::queue(&place, issues)),
        steps: steps
            .iter()
            .filter_map(|place| overrides(place, drafts, issues))
            .collect(),
    };
    super::without_effect(&mut fields, &["task_handler"], issues);
    fields.finish(issues);
    Some(environment)
}

fn overrides(place: &Place<'_>, drafts: &mut Vec<DraftOverrides>, issues: &mut Issues) -> Option<Overrides> {
    let mut fields = Fields::of(place, issues)?;
    let mut references = Vec::new();
    let name = fields.require(&["name"], issues);
    let with = step::with(&mut fields, issues);
    let inputs = with
        .as_ref()
        .and_then(|place| inputs::object(place, &mut references, issues));
    let retry = fields
        .take(&["retry"], issues)
        .and_then(|place| retry::read(&place, issues));
    let timeout = step::timeout(&mut fields, issues);
    let queue = fields
        .take(&["queue"], issues)
        .and_then(|place| values::queue(&place, issues));
    let priority = fields
        .take(&["priority"], issues)
        .and_then(|place| values::priority(&place, issues));
    fields.finish(issues);
    let name = name?;
    let steps = match values::text(&name, issues)? {
        StepSelector::ALL => StepSelector::All,
        name => StepSelector::Named(name.to_owned()),
    };
    drafts.push(DraftOverrides {
        steps: steps.clone(),
        name: name.spot,
        inputs: with.map(|place| place.spot),
        references,
    });
    Some(Overrides {
        steps,
        inputs,
        retry: retry.unwrap_or_default(),
        timeout,
        queue,
        priority,
    })
}
