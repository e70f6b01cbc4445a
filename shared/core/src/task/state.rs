//! The transition table: every state of a task and every transition between them.
//!
//! Each transition is executed by one conditional statement in the store; the tests compare every
//! change that the statements make with [`TaskStatus::next`].

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr, VariantNames};

/// The state of a task.
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
pub enum TaskStatus {
    /// Waiting for its parents in a workflow.
    Waiting,
    /// Due later.
    Scheduled,
    /// Waiting for a worker.
    Pending,
    /// Claimed by a worker, which runs it.
    Running,
    /// Failed, and due for another attempt later.
    RetryScheduled,
    /// Succeeded.
    Completed,
    /// Failed for good; an operator has to decide.
    DeadLetter,
    /// Cancelled.
    Cancelled,
    /// A dead letter that an operator marked as resolved.
    ResolvedManually,
    /// A step of a workflow that was not run: its parents gave no reason to, or an operator decided so.
    Skipped,
}

/// An event in the life of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its last parent succeeded.
    ParentsDone,
    /// Its time has come.
    Due,
    /// A worker popped its id and cannot run it now.
    Deferred,
    /// A worker claimed it.
    Claimed,
    /// Its handler returned a result.
    Succeeded,
    /// Its attempt failed and it is retried.
    RetryDecided,
    /// Its last attempt failed, or it was quarantined.
    DeadLettered,
    /// Its worker released it or died.
    RunLost,
    /// It was cancelled on request.
    Cancelled,
    /// An operator retried it.
    RetriedByOperator,
    /// An operator marked it as resolved.
    Resolved,
    /// It is a step that is not run.
    Skipped,
}

/// A transition that the table does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task in the state {state} has no transition for the event {event:?}")]
pub struct IllegalTransition {
    /// The state of the task.
    pub state: TaskStatus,
    /// The event that was to be applied.
    pub event: Event,
}

impl TaskStatus {
    /// The names of all states.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    /// Returns the state after `event`.
    pub fn next(self, event: Event) -> Result<Self, IllegalTransition> {
        use TaskStatus::{
            Cancelled, Completed, DeadLetter, Pending, ResolvedManually, RetryScheduled, Running, Scheduled,
            Skipped, Waiting,
        };
        // RunLost leads to Pending, not to RetryScheduled: a lost run is not a failed attempt and has no
        // backoff
        Ok(match (self, event) {
            (Waiting, Event::ParentsDone)
            | (Scheduled | RetryScheduled, Event::Due)
            | (Running, Event::RunLost)
            | (DeadLetter | Cancelled, Event::RetriedByOperator) => Pending,
            (Pending, Event::Deferred) => Scheduled,
            (Pending, Event::Claimed) => Running,
            (Running, Event::Succeeded) => Completed,
            (Running, Event::RetryDecided) => RetryScheduled,
            (Running, Event::DeadLettered) => DeadLetter,
            (Waiting | Scheduled | Pending | Running | RetryScheduled, Event::Cancelled) => Cancelled,
            (DeadLetter, Event::Resolved) => ResolvedManually,
            (Waiting | DeadLetter, Event::Skipped) => Skipped,
            (state, event) => return Err(IllegalTransition { state, event }),
        })
    }

    /// Returns whether a task in this state has ended: only an operator can change it.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::DeadLetter | Self::Cancelled | Self::ResolvedManually | Self::Skipped
        )
    }

    /// Returns the name in the table and in the HTTP API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    const EVENTS: [Event; 12] = [
        Event::ParentsDone,
        Event::Due,
        Event::Deferred,
        Event::Claimed,
        Event::Succeeded,
        Event::RetryDecided,
        Event::DeadLettered,
        Event::RunLost,
        Event::Cancelled,
        Event::RetriedByOperator,
        Event::Resolved,
        Event::Skipped,
    ];

    #[test]
    fn a_task_that_ended_moves_only_by_an_operator() {
        for state in TaskStatus::iter().filter(|state| state.is_terminal()) {
            for event in EVENTS {
                let by_operator =
                    matches!(event, Event::RetriedByOperator | Event::Resolved | Event::Skipped);
                assert!(
                    by_operator || state.next(event).is_err(),
                    "{state} took {event:?}"
                );
            }
        }
    }

    #[test]
    fn a_task_that_has_not_ended_can_always_be_cancelled() {
        for state in TaskStatus::iter().filter(|state| !state.is_terminal()) {
            assert_eq!(state.next(Event::Cancelled), Ok(TaskStatus::Cancelled));
        }
    }

    #[test]
    fn only_a_pending_task_is_claimed_and_only_a_running_one_succeeds() {
        for state in TaskStatus::iter() {
            assert_eq!(state.next(Event::Claimed).is_ok(), state == TaskStatus::Pending);
            assert_eq!(state.next(Event::Succeeded).is_ok(), state == TaskStatus::Running);
        }
    }

    #[test]
    fn every_state_is_found_by_its_name() {
        for state in TaskStatus::iter() {
            assert_eq!(TaskStatus::parse(state.as_str()), Some(state));
        }
        assert_eq!(TaskStatus::parse("queued"), None);
    }
}
