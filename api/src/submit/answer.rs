//! The answers to submitted tasks.

use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::insert::NewTask;

use crate::error::ApiError;
use crate::validation_error::ValidationErrorKind;

/// A task that was accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its id, or that of the earlier task with the same key.
    pub id: TaskId,
    /// Its state.
    pub status: TaskStatus,
    /// Its queue.
    pub queue: QueueName,
    /// True if it is an earlier task with the same key.
    pub deduplicated: bool,
}

impl Accepted {
    /// Creates the answer for a task that was just written.
    pub(super) fn new(task: &NewTask, status: TaskStatus) -> Self {
        Self {
            id: task.id,
            status,
            queue: task.queue.clone(),
            deduplicated: false,
        }
    }
}

/// The reason why a task was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Its key belongs to another request.
    KeyReused,
    /// Postgres cannot store a value in it.
    Unstorable,
    /// Postgres is unavailable; the task was not written.
    Outage,
    /// It is unknown whether the task was written.
    Unknown,
}

impl Rejection {
    /// Returns the error for the client, for the task at `at` in the body.
    pub fn into_error(self, at: &str) -> ApiError {
        match self {
            Self::KeyReused => ApiError::invalid(
                ValidationErrorKind::KeyReused,
                format!("{at}/idempotency_key"),
                "was used before for a different request",
            ),
            Self::Unstorable => ApiError::invalid(
                ValidationErrorKind::Unstorable,
                at,
                "holds a value that cannot be stored",
            ),
            Self::Outage => ApiError::Unavailable(None),
            Self::Unknown => ApiError::OutcomeUnknown,
        }
    }
}

/// The answer to a caller.
pub(super) type Answer = Result<Accepted, Rejection>;
