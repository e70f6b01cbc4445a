//! The plan of a workflow: what its start inserts, as vectors by the index of a step.
//!
//! Edges live on the row of the step before them, as two arrays of equal length: `targets`, ids of what the
//! edge leads to, and `kinds`, numbers of these bits:
//!
//! | bits | meaning |
//! |---|---|
//! | 0x03 | the policy: 0 fail, 1 continue, 2 skip, 3 only |
//! | 0x10 | the target is a step, and this edge is its only one |
//! | 0x20 | the target is a join |
//! | 0x40 | the target is the end of the workflow; its id is that of the workflow |
//! | 0x80 | the target is a join of more than 128 edges, whose completions have a lane of their own |
//!
//! A join is a row that counts the edges that have yet to arrive. It exists only where at least two edges
//! meet: before steps with several parents, and before the end if several steps have none behind them. Steps
//! with the same parents under the same policies share one join, so that n parents of m steps have n edges
//! and the join has m targets. A chain has no join at all.

mod rows;

use std::collections::HashMap;

pub use rows::{JoinRows, PlanIds, StepRows};

use crate::definition::Definition;
use crate::edge::EdgePolicy;
use crate::graph;
use crate::limits::WIDE_JOIN;

/// Bits of a kind.
pub mod kind {
    /// The bits of the policy.
    pub const POLICY: i16 = 0x03;
    /// The target is a step without a join.
    pub const STEP: i16 = 0x10;
    /// The target is a join.
    pub const JOIN: i16 = 0x20;
    /// The target is the end of the workflow.
    pub const END: i16 = 0x40;
    /// The target is a wide join.
    pub const WIDE: i16 = 0x80;
}

/// The plan of a workflow. Steps and joins are indices into its vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in the order of the definition.
    pub steps: Vec<PlannedStep>,
    /// The joins. That of the end, if there is one, is the last.
    pub joins: Vec<PlannedJoin>,
    /// The steps in topological order, those of lower levels first.
    pub order: Vec<usize>,
    /// The steps without parents.
    pub roots: Vec<usize>,
    /// The steps without a step behind them.
    pub sinks: Vec<usize>,
    /// The number of levels.
    pub levels: usize,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// The steps before it with the policies of the edges from them, in the order of the author.
    pub parents: Vec<(usize, EdgePolicy)>,
    /// The steps behind it with the policies of the edges to them, by index.
    pub children: Vec<(usize, EdgePolicy)>,
    /// 0 for roots, else one more than the highest level of its parents.
    pub level: usize,
    /// The edges that its row stores. Never empty.
    pub edges: Vec<PlannedEdge>,
}

/// An edge as the row of a step stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlannedEdge {
    /// Its target.
    pub target: Target,
    /// Its policy.
    pub policy: EdgePolicy,
    /// Its bits.
    pub kind: i16,
}

/// The target of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A step whose only edge this is.
    Step(usize),
    /// A join.
    Join(usize),
    /// The end of the workflow.
    End,
}

/// A join. When its last edge arrives its targets become ready, or are skipped if no edge was good; the end
/// of the workflow does not distinguish the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedJoin {
    /// The number of its edges, at least two. `size` and `pending` of its row.
    pub size: usize,
    /// The steps that it opens; empty for the end of the workflow.
    pub opens: Vec<usize>,
}

/// The parents of steps that share a join, with the policies of their edges.
type ParentSet = Vec<(usize, EdgePolicy)>;

impl Plan {
    /// Plans a workflow.
    pub fn of(definition: &Definition) -> Self {
        let parents = parents(definition);
        let of_graph: Vec<Vec<usize>> = parents
            .iter()
            .map(|parents| parents.iter().map(|(parent, _)| *parent).collect())
            .collect();
        // a definition is read only without a cycle
        let mut order = graph::order(&of_graph).unwrap_or_default();
        let levels = graph::levels(&of_graph, &order);
        order.sort_by_key(|step| (levels[*step], *step));
        let mut steps: Vec<PlannedStep> = parents
            .into_iter()
            .zip(&levels)
            .map(|(parents, level)| PlannedStep {
                parents,
                children: Vec::new(),
                level: *level,
                edges: Vec::new(),
            })
            .collect();
        add_children(&mut steps);
        let select = |is: fn(&PlannedStep) -> bool| -> Vec<usize> {
            let all = steps.iter().enumerate();
            all.filter(|(_, step)| is(step)).map(|(index, _)| index).collect()
        };
        let roots = select(|step| step.parents.is_empty());
        let sinks = select(|step| step.children.is_empty());
        let mut joins = Vec::new();
        add_edges(&mut steps, &mut joins);
        add_end(&mut steps, &mut joins, &sinks, definition);
        Self {
            steps,
            joins,
            order,
            roots,
            sinks,
            levels: levels.iter().max().map_or(0, |level| level + 1),
        }
    }

    /// Returns the join of the end; `None` if a single step leads to it.
    pub fn end_join(&self) -> Option<usize> {
        (self.sinks.len() > 1).then(|| self.joins.len() - 1)
    }

    /// Returns the policy of the edge from a step to the end of the workflow; `None` if steps are behind it.
    pub fn end_policy(&self, step: usize) -> Option<EdgePolicy> {
        let end = self.end_join().map_or(Target::End, Target::Join);
        let edges = self.steps[step].edges.iter();
        edges
            .filter(|edge| edge.target == end)
            .map(|edge| edge.policy)
            .next()
    }

    /// Returns the join before a step; `None` if it has fewer than two parents.
    pub fn join_before(&self, step: usize) -> Option<usize> {
        self.joins.iter().position(|join| join.opens.contains(&step))
    }
}

fn parents(definition: &Definition) -> Vec<ParentSet> {
    let names = definition.steps.iter().enumerate();
    let index: HashMap<&str, usize> = names.map(|(index, step)| (step.name.as_str(), index)).collect();
    let steps = definition.steps.iter();
    steps
        .map(|step| {
            let edges = step.needs.iter();
            edges
                .filter_map(|edge| Some((*index.get(edge.step.as_str())?, edge.on_failure)))
                .collect()
        })
        .collect()
}

fn add_children(steps: &mut [PlannedStep]) {
    for child in 0..steps.len() {
        for (parent, policy) in steps[child].parents.clone() {
            steps[parent].children.push((child, policy));
        }
    }
}

/// Adds the edges between steps, and the joins where several meet.
fn add_edges(steps: &mut [PlannedStep], joins: &mut Vec<PlannedJoin>) {
    let mut shared: HashMap<ParentSet, usize> = HashMap::new();
    for child in 0..steps.len() {
        let mut parents = steps[child].parents.clone();
        parents.sort_unstable();
        if let [(parent, policy)] = parents[..] {
            steps[parent].edges.push(edge(Target::Step(child), policy, false));
        } else if let Some(join) = shared.get(&parents) {
            joins[*join].opens.push(child);
        } else if !parents.is_empty() {
            let join = joins.len();
            let size = parents.len();
            for (parent, policy) in &parents {
                let edge = edge(Target::Join(join), *policy, size > WIDE_JOIN);
                steps[*parent].edges.push(edge);
            }
            joins.push(PlannedJoin {
                size,
                opens: vec![child],
            });
            shared.insert(parents, join);
        }
    }
}

/// Adds the edges of the last steps to the end of the workflow.
fn add_end(
    steps: &mut [PlannedStep],
    joins: &mut Vec<PlannedJoin>,
    sinks: &[usize],
    definition: &Definition,
) {
    let size = sinks.len();
    let target = if size > 1 {
        Target::Join(joins.len())
    } else {
        Target::End
    };
    for sink in sinks {
        let policy = definition.steps[*sink].on_failure;
        steps[*sink].edges.push(edge(target, policy, size > WIDE_JOIN));
    }
    if size > 1 {
        joins.push(PlannedJoin {
            size,
            opens: Vec::new(),
        });
    }
}

fn edge(target: Target, policy: EdgePolicy, wide: bool) -> PlannedEdge {
    let bits = match target {
        Target::Step(_) => kind::STEP,
        Target::Join(_) => kind::JOIN,
        Target::End => kind::END,
    };
    let wide = if wide { kind::WIDE } else { 0 };
    PlannedEdge {
        target,
        policy,
        kind: policy.code() | bits | wide,
    }
}

#[cfg(test)]
mod tests;
