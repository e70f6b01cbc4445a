//! The answer to what an operator did to a task.

use serde::Serialize;
use tasker_shared::task::{TaskId, TaskStatus};
use utoipa::ToSchema;

/// The answer to a cancel.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TaskActionResponse {
    /// The task.
    #[schema(value_type = uuid::Uuid)]
    pub task_id: TaskId,
    /// Its state now.
    #[schema(value_type = String, example = "cancelled")]
    pub status: TaskStatus,
    /// What happened, for people.
    pub message: &'static str,
}

impl TaskActionResponse {
    /// The answer about the task `task_id`.
    pub fn new(task_id: TaskId, status: TaskStatus, message: &'static str) -> Self {
        Self {
            task_id,
            status,
            message,
        }
    }
}
