//! The rows of a workflow's start as columns, for one insert by arrays.

use uuid::Uuid;

use super::{Plan, Target, kind};

/// The ids of a workflow's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanIds {
    /// The id of the workflow.
    pub workflow: Uuid,
    /// The ids of its steps, by index.
    pub steps: Vec<Uuid>,
    /// The ids of its joins, by index.
    pub joins: Vec<Uuid>,
}

/// Columns of the rows of steps, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRows {
    /// The ids.
    pub ids: Vec<Uuid>,
    /// True for steps without parents, which are pending; the others are waiting.
    pub ready: Vec<bool>,
    /// The targets of the edges, each an array as text for a cast to `uuid[]`: arrays of arrays cannot be
    /// unnested.
    pub targets: Vec<String>,
    /// The kinds of the edges, each an array as text for a cast to `smallint[]`.
    pub kinds: Vec<String>,
}

/// Columns of the rows of joins, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRows {
    /// The ids.
    pub ids: Vec<Uuid>,
    /// The number of edges; also the number of those that have yet to arrive.
    pub sizes: Vec<i32>,
    /// The targets, as those of steps.
    pub targets: Vec<String>,
    /// The kinds, as those of steps; without a policy.
    pub kinds: Vec<String>,
}

impl PlanIds {
    /// Assigns ids: steps by level, then joins. With a generator of increasing ids, steps that can run
    /// earlier have lower ids.
    pub fn assign(plan: &Plan, workflow: Uuid, mut new_id: impl FnMut() -> Uuid) -> Self {
        let mut steps = vec![Uuid::nil(); plan.steps.len()];
        for step in &plan.order {
            steps[*step] = new_id();
        }
        Self {
            workflow,
            steps,
            joins: plan.joins.iter().map(|_| new_id()).collect(),
        }
    }

    fn of(&self, target: Target) -> Uuid {
        match target {
            Target::Step(step) => self.steps[step],
            Target::Join(join) => self.joins[join],
            Target::End => self.workflow,
        }
    }
}

impl Plan {
    /// Returns the rows of the steps. `ids` are of this plan.
    pub fn step_rows(&self, ids: &PlanIds) -> StepRows {
        let column = |of_edge: &dyn Fn(&super::PlannedEdge) -> String| {
            let steps = self.steps.iter();
            steps.map(|step| array(step.edges.iter().map(of_edge))).collect()
        };
        StepRows {
            ids: ids.steps.clone(),
            ready: self.steps.iter().map(|step| step.parents.is_empty()).collect(),
            targets: column(&|edge| ids.of(edge.target).to_string()),
            kinds: column(&|edge| edge.kind.to_string()),
        }
    }

    /// Returns the rows of the joins. `ids` are of this plan.
    pub fn join_rows(&self, ids: &PlanIds) -> JoinRows {
        let mut rows = JoinRows {
            ids: ids.joins.clone(),
            sizes: Vec::new(),
            targets: Vec::new(),
            kinds: Vec::new(),
        };
        for join in &self.joins {
            // a plan has at most 1,000 steps
            rows.sizes.push(i32::try_from(join.size).unwrap_or(i32::MAX));
            if join.opens.is_empty() {
                rows.targets.push(array([ids.workflow.to_string()].into_iter()));
                rows.kinds.push(array([kind::END.to_string()].into_iter()));
            } else {
                let opens = join.opens.iter();
                rows.targets
                    .push(array(opens.clone().map(|step| ids.steps[*step].to_string())));
                rows.kinds.push(array(opens.map(|_| kind::STEP.to_string())));
            }
        }
        rows
    }
}

/// Returns the text of an array of Postgres; its items need no quotes.
fn array(items: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", items.collect::<Vec<_>>().join(","))
}
