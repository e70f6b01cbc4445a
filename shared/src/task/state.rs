//! The transition table: every state a task can be in, and every step it may take.
//!
//! The statements in [`crate::store`] carry these steps out, each as one conditional statement; the tests
//! hold every change that they make against [`TaskStatus::next`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Waits for its parents in a workflow.
    Waiting,
    /// Is due later.
    Scheduled,
    /// Is in a list, waiting for a worker.
    Pending,
    /// Is run by a worker.
    Running,
    /// Failed and is due for another try.
    RetryScheduled,
    /// Succeeded.
    Completed,
    /// Ended without success; somebody has to look.
    DeadLetter,
    /// Was cancelled.
    Cancelled,
    /// A dead letter that an operator settled.
    ResolvedManually,
}

/// What can happen to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its last parent succeeded.
    ParentsDone,
    /// Its time has come.
    Due,
    /// A worker popped it and cannot run it now.
    Deferred,
    /// A worker took it.
    Claimed,
    /// Its handler returned a result.
    Succeeded,
    /// Its attempt went wrong and it is tried again.
    RetryDecided,
    /// Its attempt went wrong for good, or it was quarantined.
    DeadLettered,
    /// Its worker gave it back, or died.
    RunLost,
    /// Somebody cancelled it.
    Cancelled,
    /// An operator asked to run it again.
    RetriedByOperator,
    /// An operator settled it by hand.
    Resolved,
}

/// A step that the table does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {state} cannot take the step {event:?}")]
pub struct IllegalTransition {
    /// The state the task was in.
    pub state: TaskStatus,
    /// What was to happen.
    pub event: Event,
}

impl TaskStatus {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Scheduled,
        Self::Pending,
        Self::Running,
        Self::RetryScheduled,
        Self::Completed,
        Self::DeadLetter,
        Self::Cancelled,
        Self::ResolvedManually,
    ];

    /// The state that follows `event`.
    pub fn next(self, event: Event) -> Result<Self, IllegalTransition> {
        use TaskStatus::{
            Cancelled, Completed, DeadLetter, Pending, ResolvedManually, RetryScheduled, Running, Scheduled,
            Waiting,
        };
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
            (state, event) => return Err(IllegalTransition { state, event }),
        })
    }

    /// Whether a task in this state has ended: only an operator moves it on.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::DeadLetter | Self::Cancelled | Self::ResolvedManually
        )
    }

    /// The name in the table and over HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::RetryScheduled => "retry_scheduled",
            Self::Completed => "completed",
            Self::DeadLetter => "dead_letter",
            Self::Cancelled => "cancelled",
            Self::ResolvedManually => "resolved_manually",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 11] = [
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
    ];

    #[test]
    fn a_task_that_ended_moves_only_by_an_operator() {
        for state in TaskStatus::ALL.into_iter().filter(|state| state.is_terminal()) {
            for event in EVENTS {
                let by_operator = matches!(event, Event::RetriedByOperator | Event::Resolved);
                assert!(
                    by_operator || state.next(event).is_err(),
                    "{state} took {event:?}"
                );
            }
        }
    }

    #[test]
    fn a_task_that_has_not_ended_can_always_be_cancelled() {
        for state in TaskStatus::ALL.into_iter().filter(|state| !state.is_terminal()) {
            assert_eq!(state.next(Event::Cancelled), Ok(TaskStatus::Cancelled));
        }
    }

    #[test]
    fn only_a_pending_task_is_claimed_and_only_a_running_one_succeeds() {
        for state in TaskStatus::ALL {
            assert_eq!(state.next(Event::Claimed).is_ok(), state == TaskStatus::Pending);
            assert_eq!(state.next(Event::Succeeded).is_ok(), state == TaskStatus::Running);
        }
    }

    #[test]
    fn every_state_is_found_by_its_name() {
        for state in TaskStatus::ALL {
            assert_eq!(TaskStatus::parse(state.as_str()), Some(state));
        }
        assert_eq!(TaskStatus::parse("queued"), None);
    }
}
