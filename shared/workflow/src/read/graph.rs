//! Checks what connects steps: names, edges, cycles, references.

use std::collections::{HashMap, HashSet};

use super::environment::DraftOverrides;
use super::inputs::StepReference;
use super::step::{DraftEdge, DraftStep};
use super::values::shown;
use crate::definition::{Edge, Step, StepSelector};
use crate::edge::EdgePolicy;
use crate::graph::{self, Ancestors, Cycle};
use crate::issue::{IssueCode, Issues, Spot};
use crate::nearest::did_you_mean;

/// Maximum number of steps of a cycle that a message names.
const CYCLE_SHOWN: usize = 10;

/// Parts of a definition that refer to steps.
pub(super) struct References {
    pub(super) of_output: Vec<StepReference>,
    pub(super) overrides: Vec<DraftOverrides>,
}

/// Returns the steps with their edges.
pub(super) fn connect(drafts: Vec<DraftStep>, references: &References, issues: &mut Issues) -> Vec<Step> {
    let names = Names::of(&drafts, issues);
    let parents: Vec<Vec<usize>> = (0..drafts.len())
        .map(|step| names.parents(step, &drafts, issues))
        .collect();
    names.check_output(&references.of_output, issues);
    names.check_overrides(&references.overrides, &drafts, issues);
    // each step in a cycle is an ancestor of itself, so references are checked only without one
    match graph::order(&parents) {
        Ok(order) => {
            let ancestors = Ancestors::of(&parents, &order);
            names.check_references(&drafts, &references.overrides, &ancestors, issues);
        }
        Err(cycle) => cycle_error(&drafts, &cycle, issues),
    }
    let policies: Vec<EdgePolicy> = drafts.iter().map(|draft| draft.step.on_failure).collect();
    let index = names.index;
    let policy_of = |edge: &DraftEdge| {
        let of_parent = index.get(&edge.step).map(|parent| policies[*parent]);
        edge.on_failure.or(of_parent).unwrap_or_default()
    };
    drafts
        .into_iter()
        .map(|draft| {
            let needs: Vec<Edge> = draft
                .needs
                .iter()
                .map(|edge| Edge {
                    step: edge.step.clone(),
                    on_failure: policy_of(edge),
                })
                .collect();
            check_only(&draft.step.name, &needs, &draft.needs, issues);
            Step { needs, ..draft.step }
        })
        .collect()
}

/// The indices of steps by their names.
struct Names {
    index: HashMap<String, usize>,
}

impl Names {
    fn of(drafts: &[DraftStep], issues: &mut Issues) -> Self {
        let mut index: HashMap<String, usize> = HashMap::new();
        for (place, draft) in drafts.iter().enumerate() {
            let name = &draft.step.name;
            if name.is_empty() {
                // reported where it was read
                continue;
            }
            if let Some(first) = index.get(name) {
                let message = format!(
                    "`{}` is the name of /steps/{first} too; rename one of them",
                    shown(name)
                );
                issues.error(&draft.spot, IssueCode::DuplicateStep, message);
            } else {
                index.insert(name.clone(), place);
            }
        }
        Self { index }
    }

    fn find(&self, name: &str, spot: &Spot, issues: &mut Issues) -> Option<usize> {
        let found = self.index.get(name).copied();
        // each message compares the name with all others
        if found.is_none() && !issues.is_full() {
            let mut known: Vec<(&usize, &str)> =
                self.index.iter().map(|(name, at)| (at, name.as_str())).collect();
            known.sort_unstable();
            let nearest = did_you_mean(name, known.into_iter().map(|(_, name)| name));
            let message = format!("`{}` is not a step of this workflow; {nearest}", shown(name));
            issues.error(spot, IssueCode::UnknownStep, message);
        }
        found
    }

    /// Returns the indices of the parents of a step, each once.
    fn parents(&self, step: usize, drafts: &[DraftStep], issues: &mut Issues) -> Vec<usize> {
        let draft = &drafts[step];
        let mut seen = HashSet::new();
        let mut parents = Vec::with_capacity(draft.needs.len());
        for edge in &draft.needs {
            let Some(parent) = self.find(&edge.step, &edge.spot, issues) else {
                continue;
            };
            if edge.step == draft.step.name {
                let message = format!(
                    "`{}` depends on itself; remove this dependency",
                    shown(&edge.step)
                );
                issues.error(&edge.spot, IssueCode::SelfDependency, message);
            } else if !seen.insert(parent) {
                let message = format!("`{}` is named twice; remove one of them", shown(&edge.step));
                issues.error(&edge.spot, IssueCode::DuplicateEdge, message);
            } else {
                parents.push(parent);
            }
        }
        parents
    }

    fn check_output(&self, references: &[StepReference], issues: &mut Issues) {
        for reference in references {
            self.find(&reference.step, &reference.spot, issues);
        }
    }

    fn check_overrides(&self, overrides: &[DraftOverrides], drafts: &[DraftStep], issues: &mut Issues) {
        for draft in overrides {
            let StepSelector::Named(name) = &draft.steps else {
                continue;
            };
            let Some(step) = self.find(name, &draft.name, issues) else {
                continue;
            };
            if let (Some(spot), None) = (&draft.inputs, &drafts[step].step.inputs) {
                let message = format!(
                    "sets inputs of `{}`, which has no `with` to change; add `with` to the step",
                    shown(name)
                );
                issues.error(spot, IssueCode::NoInputsToOverride, message);
            }
        }
    }

    /// Checks that inputs refer only to steps that have ended when the value is needed.
    fn check_references(
        &self,
        drafts: &[DraftStep],
        overrides: &[DraftOverrides],
        ancestors: &Ancestors,
        issues: &mut Issues,
    ) {
        for (step, draft) in drafts.iter().enumerate() {
            self.check_ancestors(step, drafts, &draft.references, ancestors, issues);
        }
        for draft in overrides {
            for (step, target) in drafts.iter().enumerate() {
                if draft.steps.selects(&target.step.name) && target.step.inputs.is_some() {
                    self.check_ancestors(step, drafts, &draft.references, ancestors, issues);
                }
            }
        }
    }

    fn check_ancestors(
        &self,
        step: usize,
        drafts: &[DraftStep],
        references: &[StepReference],
        ancestors: &Ancestors,
        issues: &mut Issues,
    ) {
        for reference in references {
            let Some(target) = self.find(&reference.step, &reference.spot, issues) else {
                continue;
            };
            if !ancestors.contains(step, target) {
                let (before, name) = (shown(&reference.step), shown(&drafts[step].step.name));
                let message = format!(
                    "refers to `{before}`, which need not have ended when `{name}` starts; add `{before}` to the \
                     `needs` of `{name}`"
                );
                issues.error(&reference.spot, IssueCode::NotAnAncestor, message);
            }
        }
    }
}

fn cycle_error(drafts: &[DraftStep], Cycle(places): &Cycle, issues: &mut Issues) {
    let Some(first) = places.first() else { return };
    let mut names: Vec<String> = places
        .iter()
        .take(CYCLE_SHOWN)
        .map(|place| format!("`{}`", shown(&drafts[*place].step.name)))
        .collect();
    // ends with the first name again, or with an ellipsis if the cycle is cut
    names.push(match names.first() {
        Some(first) if places.len() <= CYCLE_SHOWN => first.clone(),
        _ => "…".to_owned(),
    });
    let message = format!(
        "is part of a cycle, so that none of its steps could start: {}; remove one of these dependencies",
        names.join(" needs ")
    );
    issues.error(&drafts[*first].spot, IssueCode::Cycle, message);
}

/// Rejects edges of policy `only` beside others: whether the step runs would depend on which ended first.
fn check_only(step: &str, needs: &[Edge], drafts: &[DraftEdge], issues: &mut Issues) {
    let only = needs
        .iter()
        .filter(|edge| edge.on_failure == EdgePolicy::Only)
        .count();
    if only == 0 || only == needs.len() {
        return;
    }
    let other = needs
        .iter()
        .zip(drafts)
        .find(|(edge, _)| edge.on_failure != EdgePolicy::Only);
    if let Some((edge, draft)) = other {
        let message = format!(
            "`{}` needs `{}` without `on_failure: only` beside edges with it; use it for all edges of a step or for \
             none",
            shown(step),
            shown(&edge.step)
        );
        issues.error(&draft.spot, IssueCode::MixedOnlyEdges, message);
    }
}
