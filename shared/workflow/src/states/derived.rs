//! Figures that are derived from the states of the steps when a workflow is read.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};

use super::step::StepStatus;
use super::workflow::WorkflowState;

/// The number of steps of a workflow in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Waiting for parents.
    pub waiting: u64,
    /// Due later.
    pub scheduled: u64,
    /// Ready to run.
    pub pending: u64,
    /// Running.
    pub running: u64,
    /// Waiting for the next attempt.
    pub retry_scheduled: u64,
    /// Completed.
    pub completed: u64,
    /// Failed for good through an edge that handles it.
    pub handled_failures: u64,
    /// Failed for good; the workflow is blocked by them.
    pub blocking_failures: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Resolved by an operator.
    pub resolved_manually: u64,
    /// Skipped.
    pub skipped: u64,
}

impl StepCounts {
    /// Counts `n` more steps in a state. `blocks` says of a dead letter whether an edge of it holds.
    pub fn add(&mut self, status: StepStatus, blocks: bool, n: u64) {
        let count = match status {
            StepStatus::Waiting => &mut self.waiting,
            StepStatus::Scheduled => &mut self.scheduled,
            StepStatus::Pending => &mut self.pending,
            StepStatus::Running => &mut self.running,
            StepStatus::RetryScheduled => &mut self.retry_scheduled,
            StepStatus::Completed => &mut self.completed,
            StepStatus::DeadLetter if blocks => &mut self.blocking_failures,
            StepStatus::DeadLetter => &mut self.handled_failures,
            StepStatus::Cancelled => &mut self.cancelled,
            StepStatus::ResolvedManually => &mut self.resolved_manually,
            StepStatus::Skipped => &mut self.skipped,
        };
        *count = count.saturating_add(n);
    }

    /// Returns the number of all steps.
    pub fn total(&self) -> u64 {
        self.pending_steps()
            + self.in_progress_steps()
            + self.completed_steps()
            + self.failed_steps()
            + self.skipped
            + self.cancelled
    }

    /// Returns `pending_steps`: waiting, scheduled and pending ones.
    pub fn pending_steps(&self) -> u64 {
        self.waiting + self.scheduled + self.pending
    }

    /// Returns `in_progress_steps`: running ones, and those between two attempts.
    pub fn in_progress_steps(&self) -> u64 {
        self.running + self.retry_scheduled
    }

    /// Returns `completed_steps`, with those that an operator resolved.
    pub fn completed_steps(&self) -> u64 {
        self.completed + self.resolved_manually
    }

    /// Returns `failed_steps`: dead letters, handled or not.
    pub fn failed_steps(&self) -> u64 {
        self.handled_failures + self.blocking_failures
    }

    /// Returns `ready_steps`: those that a worker could claim.
    pub fn ready_steps(&self) -> u64 {
        self.pending
    }

    /// Returns the number of steps that have ended. A failure that blocks has not: its edges have yet to
    /// fire.
    pub fn ended(&self) -> u64 {
        self.completed_steps() + self.handled_failures + self.skipped + self.cancelled
    }
}

/// The `execution_status` of a workflow.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ExecutionStatus {
    /// Steps could be claimed.
    HasReadySteps,
    /// Steps are running or between two attempts.
    Processing,
    /// Failed steps block it.
    BlockedByFailures,
    /// All steps have ended.
    AllComplete,
    /// All steps that are left wait.
    WaitingForDependencies,
}

/// The `recommended_action` for a workflow.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RecommendedAction {
    /// Have workers for its steps.
    ExecuteReadySteps,
    /// Wait for running steps.
    WaitForCompletion,
    /// Retry, resolve or skip failed steps.
    HandleFailures,
    /// None: it ends by itself.
    FinalizeTask,
    /// Wait for a time or a signal.
    WaitForDependencies,
}

/// The `health_status` of a workflow.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HealthStatus {
    /// No failure is left unhandled.
    Healthy,
    /// A failed attempt is retried, or a branch is blocked while others go on.
    Recovering,
    /// Failed steps block it, and no other step goes on.
    Blocked,
    /// It has no steps.
    Unknown,
}

/// Returns the share of steps that have ended, from 0 to 100.
pub fn completion_percentage(counts: &StepCounts) -> f64 {
    let total = counts.total();
    if total == 0 {
        return 100.0;
    }
    // a workflow has at most 100,000 steps, so both are exact
    #[expect(clippy::cast_precision_loss)]
    let share = counts.ended() as f64 / total as f64;
    share * 100.0
}

/// Returns the `execution_status`. Failures that block come first, though other branches may go on.
pub fn execution_status(counts: &StepCounts) -> ExecutionStatus {
    if counts.blocking_failures > 0 {
        ExecutionStatus::BlockedByFailures
    } else if counts.ready_steps() > 0 {
        ExecutionStatus::HasReadySteps
    } else if counts.in_progress_steps() > 0 {
        ExecutionStatus::Processing
    } else if counts.ended() == counts.total() {
        ExecutionStatus::AllComplete
    } else {
        ExecutionStatus::WaitingForDependencies
    }
}

/// Returns the `recommended_action`.
pub fn recommended_action(counts: &StepCounts) -> RecommendedAction {
    match execution_status(counts) {
        ExecutionStatus::HasReadySteps => RecommendedAction::ExecuteReadySteps,
        ExecutionStatus::Processing => RecommendedAction::WaitForCompletion,
        ExecutionStatus::BlockedByFailures => RecommendedAction::HandleFailures,
        ExecutionStatus::AllComplete => RecommendedAction::FinalizeTask,
        ExecutionStatus::WaitingForDependencies => RecommendedAction::WaitForDependencies,
    }
}

/// Returns the `health_status`.
pub fn health_status(counts: &StepCounts) -> HealthStatus {
    let goes_on = counts.ready_steps() + counts.in_progress_steps() + counts.scheduled > 0;
    if counts.total() == 0 {
        HealthStatus::Unknown
    } else if counts.blocking_failures > 0 && !goes_on {
        HealthStatus::Blocked
    } else if counts.blocking_failures > 0 || counts.retry_scheduled > 0 {
        HealthStatus::Recovering
    } else {
        HealthStatus::Healthy
    }
}

/// Returns the state that a reader sees: the stored one, or one derived from the live steps.
pub fn shown_state(stored: WorkflowState, counts: &StepCounts) -> WorkflowState {
    if stored != WorkflowState::StepsInProcess || counts.running + counts.pending > 0 {
        return stored;
    }
    if counts.retry_scheduled > 0 {
        WorkflowState::WaitingForRetry
    } else if counts.waiting + counts.scheduled > 0 {
        WorkflowState::WaitingForDependencies
    } else {
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(steps: &[(StepStatus, bool, u64)]) -> StepCounts {
        let mut counts = StepCounts::default();
        for (status, blocks, n) in steps {
            counts.add(*status, *blocks, *n);
        }
        counts
    }

    #[test]
    fn every_step_that_has_ended_counts_for_completion_but_a_blocking_failure_does_not() {
        use StepStatus::{Cancelled, Completed, DeadLetter, ResolvedManually, Running, Skipped, Waiting};
        let ended = counts(&[
            (Completed, false, 3),
            (ResolvedManually, false, 1),
            (Skipped, false, 1),
            (Cancelled, false, 1),
            (DeadLetter, false, 1),
            (DeadLetter, true, 1),
            (Running, false, 1),
            (Waiting, false, 1),
        ]);
        assert_eq!((ended.total(), ended.ended()), (10, 7));
        assert!((completion_percentage(&ended) - 70.0).abs() < 1e-9);
        assert_eq!((ended.completed_steps(), ended.failed_steps()), (4, 2));
        assert!((completion_percentage(&StepCounts::default()) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_status_of_a_workflow_names_the_first_of_failures_ready_running_and_waiting_steps() {
        use StepStatus::{Completed, DeadLetter, Pending, RetryScheduled, Running, Waiting};
        for (steps, status, action) in [
            (
                &[(DeadLetter, true, 1), (Pending, false, 1)][..],
                ExecutionStatus::BlockedByFailures,
                RecommendedAction::HandleFailures,
            ),
            (
                &[(Pending, false, 1), (Running, false, 1)],
                ExecutionStatus::HasReadySteps,
                RecommendedAction::ExecuteReadySteps,
            ),
            (
                &[(RetryScheduled, false, 1), (Waiting, false, 1)],
                ExecutionStatus::Processing,
                RecommendedAction::WaitForCompletion,
            ),
            (
                &[(Completed, false, 1), (DeadLetter, false, 1)],
                ExecutionStatus::AllComplete,
                RecommendedAction::FinalizeTask,
            ),
            (
                &[(Waiting, false, 1), (Completed, false, 1)],
                ExecutionStatus::WaitingForDependencies,
                RecommendedAction::WaitForDependencies,
            ),
        ] {
            let counts = counts(steps);
            assert_eq!(execution_status(&counts), status);
            assert_eq!(recommended_action(&counts), action);
        }
    }

    #[test]
    fn a_workflow_recovers_while_something_goes_on_and_is_blocked_after_that() {
        use StepStatus::{Completed, DeadLetter, RetryScheduled, Running, Waiting};
        for (steps, health) in [
            (
                &[(Completed, false, 1), (DeadLetter, false, 1)][..],
                HealthStatus::Healthy,
            ),
            (&[(RetryScheduled, false, 1)], HealthStatus::Recovering),
            (
                &[(DeadLetter, true, 1), (Running, false, 1)],
                HealthStatus::Recovering,
            ),
            (
                &[(DeadLetter, true, 1), (Waiting, false, 1)],
                HealthStatus::Blocked,
            ),
            (&[], HealthStatus::Unknown),
        ] {
            assert_eq!(health_status(&counts(steps)), health, "{steps:?}");
        }
    }

    #[test]
    fn a_workflow_without_a_running_step_shows_what_it_waits_for() {
        use StepStatus::{Pending, RetryScheduled, Waiting};
        use WorkflowState::{BlockedByFailures, StepsInProcess, WaitingForDependencies, WaitingForRetry};
        let retry = counts(&[(RetryScheduled, false, 1), (Waiting, false, 1)]);
        assert_eq!(shown_state(StepsInProcess, &retry), WaitingForRetry);
        let waiting = counts(&[(Waiting, false, 1)]);
        assert_eq!(shown_state(StepsInProcess, &waiting), WaitingForDependencies);
        assert_eq!(shown_state(BlockedByFailures, &waiting), BlockedByFailures);
        let ready = counts(&[(Pending, false, 1), (RetryScheduled, false, 1)]);
        assert_eq!(shown_state(StepsInProcess, &ready), StepsInProcess);
    }
}
