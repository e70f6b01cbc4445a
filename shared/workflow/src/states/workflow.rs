//! The twelve states of a workflow in one table of transitions.
//!
//! Seven states are stored. The other five are passages within one statement, recorded in the history, or are
//! derived when a workflow is read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator as _, IntoStaticStr, VariantNames};

/// The state of a workflow.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum WorkflowState {
    /// Accepted, and not started.
    Pending,
    /// A passage: its steps are made.
    Initializing,
    /// A passage: ready steps are handed to their queues.
    EnqueuingSteps,
    /// Steps are under way.
    StepsInProcess,
    /// A passage: a step has ended, and what follows is decided.
    EvaluatingResults,
    /// Derived: all live steps wait for parents, a time or a signal.
    WaitingForDependencies,
    /// Derived: all steps that could run wait for their next attempt.
    WaitingForRetry,
    /// A step failed, and no edge handles that; an operator decides.
    BlockedByFailures,
    /// All steps ended, and no failure is left unhandled.
    Complete,
    /// It gave up, or its deadline passed.
    Error,
    /// It was cancelled.
    Cancelled,
    /// An operator resolved it while it was blocked.
    ResolvedManually,
}

/// An event in the life of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum WorkflowEvent {
    /// It starts.
    Start,
    /// Steps are ready to run.
    ReadyStepsFound,
    /// It has no steps to run.
    NoStepsFound,
    /// Steps are left, and each of them waits.
    NoDependenciesReady,
    /// The ready steps are in their queues.
    StepsEnqueued,
    /// The ready steps could not be handed to their queues.
    EnqueueFailed,
    /// All steps under way have completed.
    AllStepsCompleted,
    /// One of the steps has ended.
    StepCompleted,
    /// An attempt failed and is retried.
    StepFailed,
    /// All steps of the workflow have ended well, or with a failure that an edge handles.
    AllStepsSuccessful,
    /// A step failed for good, and no edge handles that.
    PermanentFailure,
    /// A wait is over.
    DependenciesReady,
    /// A step's next attempt is due.
    RetryReady,
    /// An operator retried or resolved the last failed step.
    FailuresCleared,
    /// It gives up: by an operator, or since `on_failure` is `error`.
    GiveUp,
    /// Its deadline has passed.
    DeadlinePassed,
    /// An operator resolved the workflow.
    ManualResolution,
    /// It was cancelled.
    Cancel,
}

/// A transition that the table does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a workflow in the state {state} has no transition for the event {event}")]
pub struct IllegalWorkflowTransition {
    /// The state of the workflow.
    pub state: WorkflowState,
    /// The event that was to be applied.
    pub event: WorkflowEvent,
}

impl WorkflowState {
    /// The names of all states.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    /// Returns the state after `event`.
    pub fn next(self, event: WorkflowEvent) -> Result<Self, IllegalWorkflowTransition> {
        use WorkflowEvent as On;
        use WorkflowState::{
            BlockedByFailures, Cancelled, Complete, EnqueuingSteps, Error, EvaluatingResults, Initializing,
            Pending, ResolvedManually, StepsInProcess, WaitingForDependencies, WaitingForRetry,
        };
        Ok(match (self, event) {
            (state, On::Cancel) if !state.is_terminal() => Cancelled,
            (state, On::DeadlinePassed) if !state.is_terminal() => Error,
            (Pending, On::Start) => Initializing,
            (Initializing | EvaluatingResults, On::ReadyStepsFound) | (WaitingForRetry, On::RetryReady) => {
                EnqueuingSteps
            }
            (Initializing, On::NoStepsFound) | (EvaluatingResults, On::AllStepsSuccessful) => Complete,
            (Initializing | EvaluatingResults, On::NoDependenciesReady) => WaitingForDependencies,
            (EnqueuingSteps, On::StepsEnqueued) => StepsInProcess,
            (EnqueuingSteps, On::EnqueueFailed) | (BlockedByFailures, On::GiveUp) => Error,
            (StepsInProcess, On::AllStepsCompleted | On::StepCompleted)
            | (WaitingForDependencies, On::DependenciesReady)
            | (BlockedByFailures, On::FailuresCleared) => EvaluatingResults,
            (StepsInProcess, On::StepFailed) => WaitingForRetry,
            (EvaluatingResults, On::PermanentFailure) => BlockedByFailures,
            (BlockedByFailures, On::ManualResolution) => ResolvedManually,
            (state, event) => return Err(IllegalWorkflowTransition { state, event }),
        })
    }

    /// Returns whether a workflow in this state has ended.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Complete | Self::Error | Self::Cancelled | Self::ResolvedManually
        )
    }

    /// Returns whether the state is stored in the row of a workflow.
    pub fn is_stored(self) -> bool {
        self.is_terminal()
            || matches!(
                self,
                Self::Pending | Self::StepsInProcess | Self::BlockedByFailures
            )
    }

    /// Returns the name in the table and in the HTTP API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the stored states that one statement may write in place of this one: those that the table
    /// reaches from it through passages only.
    pub fn stored_successors(self) -> BTreeSet<Self> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![self];
        while let Some(state) = open.pop() {
            for next in WorkflowEvent::iter().filter_map(|event| state.next(event).ok()) {
                if next.is_stored() {
                    found.insert(next);
                } else if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WorkflowState::{
        BlockedByFailures, Cancelled, Complete, Error, Pending, ResolvedManually, StepsInProcess,
    };

    #[test]
    fn there_are_twelve_states_of_which_seven_are_stored() {
        assert_eq!(WorkflowState::iter().count(), 12);
        let stored: Vec<WorkflowState> = WorkflowState::iter().filter(|state| state.is_stored()).collect();
        assert_eq!(
            stored,
            [
                Pending,
                StepsInProcess,
                BlockedByFailures,
                Complete,
                Error,
                Cancelled,
                ResolvedManually
            ]
        );
    }

    #[test]
    fn a_workflow_that_ended_takes_no_event() {
        for state in WorkflowState::iter().filter(|state| state.is_terminal()) {
            for event in WorkflowEvent::iter() {
                assert_eq!(state.next(event), Err(IllegalWorkflowTransition { state, event }));
            }
        }
    }

    #[test]
    fn a_workflow_that_has_not_ended_can_be_cancelled_and_can_miss_its_deadline() {
        for state in WorkflowState::iter().filter(|state| !state.is_terminal()) {
            assert_eq!(state.next(WorkflowEvent::Cancel), Ok(Cancelled));
            assert_eq!(state.next(WorkflowEvent::DeadlinePassed), Ok(Error));
        }
    }

    #[test]
    fn every_pair_that_the_table_does_not_list_is_an_error_that_names_both() {
        let legal: usize = WorkflowState::iter()
            .map(|state| {
                WorkflowEvent::iter()
                    .filter(|event| state.next(*event).is_ok())
                    .count()
            })
            .sum();
        // 18 transitions, and cancellation and deadline in each of the eight states that are not terminal
        assert_eq!(legal, 18 + 2 * 8);
        let error = Pending.next(WorkflowEvent::GiveUp).expect_err("illegal");
        assert_eq!(
            error.to_string(),
            "a workflow in the state pending has no transition for the event give_up"
        );
    }

    #[test]
    fn a_workflow_passes_from_its_start_to_its_end() {
        use WorkflowEvent as On;
        let path = [
            On::Start,
            On::ReadyStepsFound,
            On::StepsEnqueued,
            On::StepFailed,
            On::RetryReady,
            On::StepsEnqueued,
            On::StepCompleted,
            On::PermanentFailure,
            On::FailuresCleared,
            On::NoDependenciesReady,
            On::DependenciesReady,
            On::AllStepsSuccessful,
        ];
        let end = path.into_iter().try_fold(Pending, WorkflowState::next);
        assert_eq!(end, Ok(Complete));
    }

    #[test]
    fn a_statement_writes_only_stored_states_that_the_table_reaches_through_passages() {
        let of_running = StepsInProcess.stored_successors();
        assert!(of_running.contains(&Complete) && of_running.contains(&BlockedByFailures));
        assert!(!of_running.contains(&Pending) && !of_running.contains(&ResolvedManually));
        let of_blocked = BlockedByFailures.stored_successors();
        assert!(of_blocked.contains(&StepsInProcess) && of_blocked.contains(&ResolvedManually));
        assert!(
            of_blocked.contains(&Complete),
            "the last failure of a workflow was resolved"
        );
        assert!(Complete.stored_successors().is_empty());
    }

    #[test]
    fn every_state_is_found_by_its_name() {
        for state in WorkflowState::iter() {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
