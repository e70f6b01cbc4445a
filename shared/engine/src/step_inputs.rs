//! The inputs of claimed steps: fetched with one read for all steps of a claim, when the first of them
//! starts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::{TaskId, TaskStatus};
use tasker_store::claim::Claimed;
use tasker_store::steps::inputs::{self, Parent, ParentEnd};
use tasker_store::{self as store, ClaimedStep, ConnectionCache};
use tasker_workflow::resolve::{StepOutcome, parameters, reads_context, steps_read};
use tasker_workflow::{Step, step_from_stored};
use tokio::sync::OnceCell;
use tracing::warn;

/// Maximum duration of the read. A run without inputs is released and claimed again.
const READ_MAX: Duration = Duration::from_secs(5);

/// The inputs of the steps of one claim.
#[derive(Debug)]
pub(crate) struct StepInputs {
    connections: Arc<ConnectionCache>,
    /// The steps that want to read something.
    steps: HashSet<TaskId>,
    /// The workflows whose contexts are wanted.
    contexts: Vec<TaskId>,
    parents: Vec<Parent>,
    read: OnceCell<Read>,
}

#[derive(Debug)]
struct Read {
    contexts: HashMap<TaskId, String>,
    parents: HashMap<Parent, ParentEnd>,
}

/// The reason for which a step has no inputs.
#[derive(Debug)]
pub(crate) enum NoInputs {
    /// They could not be read, or its workflow is over: the run is released.
    Unavailable,
    /// They cannot be made from what its parents returned: another attempt would fail as well.
    Invalid(String),
}

impl StepInputs {
    /// Returns the inputs to read for the steps among `tasks`; `None` if none of them wants any.
    /// `reads` says whether a task type reads its parameters at all.
    pub(crate) fn of(
        tasks: &[Claimed],
        connections: &Arc<ConnectionCache>,
        reads: impl Fn(&str) -> bool,
    ) -> Option<Arc<Self>> {
        let mut steps = HashSet::new();
        let mut contexts = BTreeSet::new();
        let mut parents = Vec::new();
        for claimed in tasks {
            let Some(step) = claimed.step.as_ref().filter(|_| reads(&claimed.task_name)) else {
                continue;
            };
            let Some(defined) = defined(step) else { continue };
            let read = steps_read(&defined);
            if reads_context(&defined) {
                contexts.insert(step.workflow);
            } else if read.is_empty() {
                // literals only: they are on the row
                continue;
            }
            steps.insert(claimed.run.task);
            parents.extend(read.into_iter().map(|name| parent(step, name)));
        }
        (!steps.is_empty()).then(|| {
            Arc::new(Self {
                connections: Arc::clone(connections),
                steps,
                contexts: contexts.into_iter().collect(),
                parents,
                read: OnceCell::new(),
            })
        })
    }

    /// Returns whether a claimed task is one of those steps.
    pub(crate) fn are_for(&self, claimed: &Claimed) -> bool {
        self.steps.contains(&claimed.run.task)
    }

    /// Returns the parameters of a step, JSON text; `None` if they are those that its row has.
    pub(crate) async fn parameters(&self, step: &ClaimedStep) -> Result<Option<String>, NoInputs> {
        let Some(defined) = defined(step) else {
            return Ok(None);
        };
        let read = self.read.get_or_try_init(|| self.read()).await.map_err(|error| {
            warn!(%error, "failed to read the inputs of steps; they are released");
            NoInputs::Unavailable
        })?;
        let context = match read.contexts.get(&step.workflow) {
            Some(context) => context.as_str(),
            None if reads_context(&defined) => return Err(NoInputs::Unavailable),
            None => "{}",
        };
        let outcomes = |name: &str| read.parents.get(&parent(step, name)).map(outcome);
        parameters(&defined, context, outcomes)
            .map(Some)
            .map_err(|error| NoInputs::Invalid(format!("{}: {error}", error.reason())))
    }

    async fn read(&self) -> store::Result<Read> {
        store::bounded(READ_MAX, async {
            let mut connection = self.connections.take().await?;
            let contexts = if self.contexts.is_empty() {
                HashMap::new()
            } else {
                inputs::contexts(&mut *connection, &self.contexts).await?
            };
            let parents = if self.parents.is_empty() {
                HashMap::new()
            } else {
                inputs::parents(&mut *connection, &self.parents).await?
            };
            self.connections.release(connection);
            Ok(Read { contexts, parents })
        })
        .await
    }
}

/// Returns the definition of a step; `None` if its parameters are on its row.
pub(crate) fn defined(step: &ClaimedStep) -> Option<Step> {
    // written by the server that started the workflow, from a definition that was valid
    step.options
        .as_deref()
        .and_then(|text| step_from_stored(text).ok())
}

fn parent(step: &ClaimedStep, name: &str) -> Parent {
    Parent {
        workflow: step.workflow,
        step: name.to_owned(),
    }
}

/// Returns how a parent ended, as a step sees it.
fn outcome(end: &ParentEnd) -> StepOutcome<'_> {
    match end.status {
        TaskStatus::DeadLetter => StepOutcome::Failed(end.error.as_deref().unwrap_or_default()),
        TaskStatus::Skipped => StepOutcome::Skipped,
        _ => StepOutcome::Completed(end.result.as_deref().unwrap_or("null")),
    }
}
