//! The response to an operator's action on one task.

use serde::Serialize;
use tasker_core::task::{TaskId, TaskStatus};
use utoipa::ToSchema;

/// The response to a cancel or retry of a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TaskActionResponse {
    /// The task.
    #[schema(value_type = uuid::Uuid)]
    pub task_id: TaskId,
    /// Its new state.
    #[schema(value_type = String, example = "cancelled")]
    pub status: TaskStatus,
    /// The result for people.
    pub message: &'static str,
}

impl TaskActionResponse {
    /// Creates the response for the task `task_id`.
    pub fn new(task_id: TaskId, status: TaskStatus, message: &'static str) -> Self {
        Self {
            task_id,
            status,
            message,
        }
    }
}
