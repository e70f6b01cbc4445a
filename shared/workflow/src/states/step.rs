//! The states of a step: those of a task, and `skipped`.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr, VariantNames};
use tasker_core::task::TaskStatus;
use tasker_core::task::state::Event;

use crate::edge::StepEnd;

/// The state of a step.
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
pub enum StepStatus {
    /// Waiting for its parents.
    Waiting,
    /// Due later.
    Scheduled,
    /// Waiting for a worker, or for the next wave of skips.
    Pending,
    /// Claimed by a worker, which runs it.
    Running,
    /// Failed, and due for another attempt later.
    RetryScheduled,
    /// Succeeded.
    Completed,
    /// Failed for good.
    DeadLetter,
    /// Cancelled with its workflow.
    Cancelled,
    /// A dead letter that an operator marked as resolved.
    ResolvedManually,
    /// Not run, since its parents did not end well or an operator skipped it.
    Skipped,
}

/// An event in the life of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepEvent {
    /// An event that every task has.
    Task(Event),
    /// It is skipped.
    Skipped,
}

/// A transition that the table does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a step in the state {state} has no transition for the event {event:?}")]
pub struct IllegalStepTransition {
    /// The state of the step.
    pub state: StepStatus,
    /// The event that was to be applied.
    pub event: StepEvent,
}

impl StepStatus {
    /// The names of all states.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    /// Returns the state after `event`.
    pub fn next(self, event: StepEvent) -> Result<Self, IllegalStepTransition> {
        let illegal = IllegalStepTransition { state: self, event };
        match event {
            StepEvent::Skipped => match self {
                Self::Waiting | Self::Scheduled | Self::Pending => Ok(Self::Skipped),
                _ => Err(illegal),
            },
            StepEvent::Task(event) => {
                let task = self.task().ok_or(illegal)?;
                task.next(event).map(Self::from).map_err(|_| illegal)
            }
        }
    }

    /// Returns the state of its task; `None` for `skipped`, which tasks outside of workflows do not have.
    pub fn task(self) -> Option<TaskStatus> {
        self.as_str().parse().ok()
    }

    /// Returns whether a step in this state has ended.
    pub fn is_terminal(self) -> bool {
        self.task().is_none_or(TaskStatus::is_terminal)
    }

    /// Returns how its edges see its end; `None` if it has not ended or was cancelled.
    pub fn end(self) -> Option<StepEnd> {
        match self {
            Self::Completed | Self::ResolvedManually => Some(StepEnd::Completed),
            Self::DeadLetter => Some(StepEnd::DeadLetter),
            Self::Skipped => Some(StepEnd::Skipped),
            _ => None,
        }
    }

    /// Returns the name in the table and in the HTTP API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<TaskStatus> for StepStatus {
    fn from(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Waiting => Self::Waiting,
            TaskStatus::Scheduled => Self::Scheduled,
            TaskStatus::Pending => Self::Pending,
            TaskStatus::Running => Self::Running,
            TaskStatus::RetryScheduled => Self::RetryScheduled,
            TaskStatus::Completed => Self::Completed,
            TaskStatus::DeadLetter => Self::DeadLetter,
            TaskStatus::Cancelled => Self::Cancelled,
            TaskStatus::ResolvedManually => Self::ResolvedManually,
            TaskStatus::Skipped => Self::Skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn the_states_are_those_of_a_task_and_skipped() {
        let names: Vec<&str> = StepStatus::iter().map(StepStatus::as_str).collect();
        let mut expected = TaskStatus::NAMES.to_vec();
        if !expected.contains(&"skipped") {
            expected.push("skipped");
        }
        assert_eq!(names, expected);
        for name in TaskStatus::NAMES {
            let status = TaskStatus::parse(name).expect("its own name");
            assert_eq!(StepStatus::from(status).as_str(), *name);
        }
    }

    #[test]
    fn a_step_that_has_not_started_can_be_skipped_and_any_other_cannot() {
        for state in StepStatus::iter() {
            let before_start = matches!(
                state,
                StepStatus::Waiting | StepStatus::Scheduled | StepStatus::Pending
            );
            assert_eq!(state.next(StepEvent::Skipped).is_ok(), before_start, "{state}");
        }
    }

    #[test]
    fn a_skipped_step_has_ended_and_takes_no_event() {
        assert!(StepStatus::Skipped.is_terminal());
        let event = StepEvent::Task(Event::Claimed);
        assert_eq!(
            StepStatus::Skipped.next(event),
            Err(IllegalStepTransition {
                state: StepStatus::Skipped,
                event
            })
        );
    }

    #[test]
    fn a_step_otherwise_moves_as_a_task_does() {
        assert_eq!(
            StepStatus::Pending.next(StepEvent::Task(Event::Claimed)),
            Ok(StepStatus::Running)
        );
        assert!(StepStatus::Waiting.next(StepEvent::Task(Event::Claimed)).is_err());
    }

    #[test]
    fn a_resolved_step_ends_as_a_completed_one_and_a_cancelled_one_fires_no_edge() {
        assert_eq!(StepStatus::ResolvedManually.end(), Some(StepEnd::Completed));
        assert_eq!(StepStatus::Cancelled.end(), None);
        assert_eq!(StepStatus::Running.end(), None);
    }
}
