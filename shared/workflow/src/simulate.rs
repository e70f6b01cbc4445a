//! The rules of the advance as a simulation: what the end of a step means for a workflow. Tests compare the
//! real system with it, so it counts edges from the definition's graph and knows neither joins nor SQL.

use crate::definition::FailureReaction;
use crate::edge::{EdgePolicy, Effect, StepEnd};
use crate::plan::Plan;
use crate::states::{StepCounts, StepStatus, WorkflowState};

/// A workflow in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    steps: Vec<SimulatedStep>,
    state: WorkflowState,
    on_failure: FailureReaction,
    stopping: Option<WorkflowState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SimulatedStep {
    status: StepStatus,
    /// True if it becomes ready only to be skipped.
    skip: bool,
    /// Edges into it that have yet to arrive.
    missing: usize,
    /// Edges into it that arrived and were good.
    good: usize,
    /// Edges that leave it and have not fired.
    unfired: Vec<(Option<usize>, EdgePolicy)>,
}

/// The result of an event: what it made ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advance {
    /// Steps that are ready to run, by index.
    pub ready: Vec<usize>,
    /// Steps that are ready to be skipped, by index.
    pub to_skip: Vec<usize>,
    /// Steps that were cancelled, by index.
    pub cancelled: Vec<usize>,
}

/// An event that the state of its step or workflow does not allow; the real system answers it with zero rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// The step is not in a state that allows the event.
    #[error("step {step} is {status}, which does not allow that")]
    Step {
        /// The index of the step.
        step: usize,
        /// Its state.
        status: StepStatus,
    },
    /// The workflow is not in a state that allows the event.
    #[error("the workflow is {0}, which does not allow that")]
    Workflow(WorkflowState),
}

impl Simulation {
    /// Starts a workflow: its roots are ready.
    pub fn start(plan: &Plan, on_failure: FailureReaction) -> Self {
        let steps = plan.steps.iter().enumerate().map(|(index, step)| {
            let mut unfired: Vec<_> = step
                .children
                .iter()
                .map(|(child, policy)| (Some(*child), *policy))
                .collect();
            unfired.extend(plan.end_policy(index).map(|policy| (None, policy)));
            SimulatedStep {
                status: if step.parents.is_empty() {
                    StepStatus::Pending
                } else {
                    StepStatus::Waiting
                },
                skip: false,
                missing: step.parents.len(),
                good: 0,
                unfired,
            }
        });
        Self {
            steps: steps.collect(),
            state: WorkflowState::StepsInProcess,
            on_failure,
            stopping: None,
        }
    }

    /// Returns the state of the workflow, one of those that are stored.
    pub fn state(&self) -> WorkflowState {
        self.state
    }

    /// Returns the states of the steps, by index.
    pub fn statuses(&self) -> Vec<StepStatus> {
        self.steps.iter().map(|step| step.status).collect()
    }

    /// Returns the numbers of steps by state.
    pub fn counts(&self) -> StepCounts {
        let mut counts = StepCounts::default();
        for step in &self.steps {
            counts.add(step.status, step.blocks(), 1);
        }
        counts
    }

    /// Returns the steps that are ready to run, by index.
    pub fn ready(&self) -> Vec<usize> {
        self.select(|step| step.status == StepStatus::Pending && !step.skip)
    }

    /// Returns the steps that are ready to be skipped, by index.
    pub fn to_skip(&self) -> Vec<usize> {
        self.select(|step| step.status == StepStatus::Pending && step.skip)
    }

    /// Claims a ready step.
    pub fn claim(&mut self, step: usize) -> Result<(), SimulationError> {
        if self.stopping.is_some() || self.state.is_terminal() {
            return Err(SimulationError::Workflow(self.state));
        }
        let at = self.allowed(step, |at| at.status == StepStatus::Pending && !at.skip)?;
        at.status = StepStatus::Running;
        Ok(())
    }

    /// Ends a running step well.
    pub fn complete(&mut self, step: usize) -> Result<Advance, SimulationError> {
        self.allowed(step, |at| at.status == StepStatus::Running)?;
        Ok(self.end_run(step, StepStatus::Completed))
    }

    /// Ends a running step as a dead letter.
    pub fn fail(&mut self, step: usize) -> Result<Advance, SimulationError> {
        self.allowed(step, |at| at.status == StepStatus::Running)?;
        Ok(self.end_run(step, StepStatus::DeadLetter))
    }

    /// Skips one step that is ready to be skipped.
    pub fn skip(&mut self, step: usize) -> Result<Advance, SimulationError> {
        if self.stopping.is_some() {
            return Err(SimulationError::Workflow(self.state));
        }
        self.allowed(step, |at| at.status == StepStatus::Pending && at.skip)?;
        Ok(self.end(step, StepStatus::Skipped))
    }

    /// Skips all steps that are ready to be skipped, wave by wave. Returns the number of waves.
    pub fn skip_all(&mut self) -> Result<usize, SimulationError> {
        let mut waves = 0;
        loop {
            let wave = self.to_skip();
            if wave.is_empty() {
                return Ok(waves);
            }
            waves += 1;
            for step in wave {
                // the workflow may end within a wave
                if self.steps[step].status == StepStatus::Pending {
                    self.skip(step)?;
                }
            }
        }
    }

    /// Has a step skipped that no worker has claimed: at once if it is ready, else once its parents have
    /// ended.
    pub fn skip_by_operator(&mut self, step: usize) -> Result<Advance, SimulationError> {
        if self.stopping.is_some() {
            return Err(SimulationError::Workflow(self.state));
        }
        let waits = |at: &SimulatedStep| matches!(at.status, StepStatus::Waiting | StepStatus::Pending);
        let at = self.allowed(step, waits)?;
        at.skip = true;
        let is_ready = at.status == StepStatus::Pending;
        Ok(Advance {
            to_skip: is_ready.then_some(step).into_iter().collect(),
            ..Advance::default()
        })
    }

    /// Resolves a dead letter that blocks the workflow: its remaining edges fire as good ones.
    pub fn resolve(&mut self, step: usize) -> Result<Advance, SimulationError> {
        self.allowed(step, SimulatedStep::blocks)?;
        Ok(self.end(step, StepStatus::ResolvedManually))
    }

    /// Retries a dead letter that blocks the workflow.
    pub fn retry(&mut self, step: usize) -> Result<Advance, SimulationError> {
        let at = self.allowed(step, SimulatedStep::blocks)?;
        at.status = StepStatus::Pending;
        self.settle();
        Ok(Advance {
            ready: vec![step],
            ..Advance::default()
        })
    }

    /// Cancels the workflow: steps that do not run are cancelled at once, running ones when they end.
    pub fn cancel(&mut self) -> Result<Advance, SimulationError> {
        self.stop(WorkflowState::Cancelled)
    }

    /// Lets a workflow end as `error`: its deadline passed, or an operator gave up a blocked one.
    pub fn give_up(&mut self) -> Result<Advance, SimulationError> {
        self.stop(WorkflowState::Error)
    }

    /// Resolves a blocked workflow: its other steps are cancelled.
    pub fn resolve_workflow(&mut self) -> Result<Advance, SimulationError> {
        if self.state != WorkflowState::BlockedByFailures {
            return Err(SimulationError::Workflow(self.state));
        }
        self.stop(WorkflowState::ResolvedManually)
    }

    fn select(&self, is: impl Fn(&SimulatedStep) -> bool) -> Vec<usize> {
        let steps = self.steps.iter().enumerate();
        steps
            .filter(|(_, step)| is(step))
            .map(|(index, _)| index)
            .collect()
    }

    fn allowed(
        &mut self,
        step: usize,
        is: impl Fn(&SimulatedStep) -> bool,
    ) -> Result<&mut SimulatedStep, SimulationError> {
        // steps of a workflow that ended stay as they are
        if self.state.is_terminal() {
            return Err(SimulationError::Workflow(self.state));
        }
        let at = &mut self.steps[step];
        let status = at.status;
        if is(at) {
            Ok(at)
        } else {
            Err(SimulationError::Step { step, status })
        }
    }

    /// Ends a run. In a workflow that stops it ends as cancelled, whatever the handler returned.
    fn end_run(&mut self, step: usize, status: StepStatus) -> Advance {
        if self.stopping.is_none() {
            return self.end(step, status);
        }
        self.steps[step].status = StepStatus::Cancelled;
        self.settle();
        Advance {
            cancelled: vec![step],
            ..Advance::default()
        }
    }

    /// Ends a step and fires its edges.
    fn end(&mut self, step: usize, status: StepStatus) -> Advance {
        self.steps[step].status = status;
        let mut advance = Advance::default();
        let Some(end) = status.end() else {
            return advance;
        };
        let edges = std::mem::take(&mut self.steps[step].unfired);
        for (child, policy) in edges {
            match policy.effect(end) {
                Effect::Blocks => self.steps[step].unfired.push((child, policy)),
                Effect::Fires { good } => {
                    if let Some(child) = child {
                        self.arrive(child, good, &mut advance);
                    }
                }
            }
        }
        if end == StepEnd::DeadLetter
            && self.steps[step].blocks()
            && self.on_failure == FailureReaction::Error
            && let Ok(stopped) = self.stop(WorkflowState::Error)
        {
            return stopped;
        }
        self.settle();
        advance
    }

    fn arrive(&mut self, child: usize, good: bool, advance: &mut Advance) {
        let step = &mut self.steps[child];
        step.missing -= 1;
        step.good += usize::from(good);
        if step.missing > 0 {
            return;
        }
        step.status = StepStatus::Pending;
        step.skip |= step.good == 0;
        if step.skip {
            advance.to_skip.push(child);
        } else {
            advance.ready.push(child);
        }
    }

    fn stop(&mut self, state: WorkflowState) -> Result<Advance, SimulationError> {
        if self.state.is_terminal() || self.stopping.is_some() {
            return Err(SimulationError::Workflow(self.state));
        }
        self.stopping = Some(state);
        // dead letters keep their state; running steps are cancelled when they end
        let waits = |step: &SimulatedStep| matches!(step.status, StepStatus::Waiting | StepStatus::Pending);
        let cancelled = self.select(waits);
        for step in &cancelled {
            self.steps[*step].status = StepStatus::Cancelled;
        }
        self.settle();
        Ok(Advance {
            cancelled,
            ..Advance::default()
        })
    }

    /// Sets the state of the workflow after a change of a step.
    fn settle(&mut self) {
        let runs = self.steps.iter().any(|step| step.status == StepStatus::Running);
        if let Some(state) = self.stopping {
            if !runs {
                self.state = state;
            }
            return;
        }
        let blocked = self.steps.iter().any(SimulatedStep::blocks);
        let ended = self.steps.iter().all(|step| step.status.is_terminal());
        self.state = match (blocked, ended) {
            (true, _) => WorkflowState::BlockedByFailures,
            (false, true) => WorkflowState::Complete,
            (false, false) => WorkflowState::StepsInProcess,
        };
    }
}

impl SimulatedStep {
    /// Returns whether it is a dead letter that keeps edges.
    fn blocks(&self) -> bool {
        self.status == StepStatus::DeadLetter && !self.unfired.is_empty()
    }
}

#[cfg(test)]
mod tests;
