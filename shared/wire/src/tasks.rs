//! Tasks and task types.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use tasker_core::role::Role;
use tasker_core::task::{QueueName, TaskId, TaskStatus};

/// The answer to a submit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Submitted {
    /// The task.
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub task_id: TaskId,
    /// Its type.
    pub task_name: String,
    /// Its current state.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "pending"))]
    pub status: TaskStatus,
    /// The queue it waits in.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "default"))]
    pub queue: QueueName,
    /// True if this is an earlier task with the same idempotency key.
    pub deduplicated: bool,
    /// The outcome, for people.
    pub message: String,
}

/// The answer to a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchSubmitted {
    /// One entry per task, in the order of the request.
    pub tasks: Vec<Submitted>,
    /// Number of accepted tasks.
    pub accepted: usize,
}

/// The whole record of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(
    missing_docs,
    reason = "the columns of the table, explained in the contract of the API"
)]
pub struct Task {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub task_id: TaskId,
    pub task_name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub queue: QueueName,
    pub priority: i16,
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub parameters: Box<RawValue>,
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Box<RawValue>,
    pub tags: Vec<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub status: TaskStatus,
    pub runs: i32,
    /// Number of attempts that ended: 0 while the first one runs.
    pub attempts: i32,
    pub max_attempts: i32,
    pub crash_count: i32,
    pub worker_id: Option<String>,
    pub idempotency_key: Option<String>,
    pub correlation_id: String,
    #[serde(serialize_with = "super::seconds")]
    pub timeout_seconds: f64,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub progress: Option<Box<RawValue>>,
    pub error: Option<String>,
    /// The reason of a dead letter: `exhausted`, `failed`, `timeout` or `crash_loop`.
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub enqueued_at: Option<DateTime<Utc>>,
    pub run_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    /// The workflow that it is a step of; left out for a plain task, as are `step` and `item`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<uuid::Uuid>))]
    pub workflow_id: Option<TaskId>,
    /// Its name in the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Its place among the items of a map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<i32>,
    pub updated_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub result: Option<Box<RawValue>>,
}

/// The state of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "a part of `Task`")]
pub struct TaskState {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub task_id: TaskId,
    pub task_name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub status: TaskStatus,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub queue: QueueName,
    pub attempts: i32,
    pub max_attempts: i32,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub progress: Option<Box<RawValue>>,
    pub error: Option<String>,
}

/// The state and the result of a finished task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskResult {
    /// Its state.
    #[serde(flatten)]
    pub state: TaskState,
    /// The result of its handler; null unless it completed.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub result: Option<Box<RawValue>>,
}

/// The history of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct History {
    /// The transitions, oldest first.
    pub events: Vec<HistoryEvent>,
}

/// A transition in the life of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct HistoryEvent {
    pub at: DateTime<Utc>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub from: Option<TaskStatus>,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub to: TaskStatus,
    pub run: Option<i32>,
    pub attempt: Option<i32>,
    pub worker_id: Option<String>,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub actor: Option<String>,
}

/// The explanation why a task is not running.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The task.
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub task_id: TaskId,
    /// Its state.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub status: TaskStatus,
    /// The reasons why it is not running, or that it runs or ran; the most important first, never empty.
    pub reasons: Vec<Reason>,
    /// Number of pending tasks of its queue before it, without those of types that no live worker of the
    /// queue registers. Null unless it is pending, when no live worker registers its own type, and beyond
    /// 10,000.
    pub position: Option<i64>,
    /// A rough estimate from the recent rate of its queue, or the time until it is due; null if the rate is
    /// unknown or the task is blocked.
    pub estimated_wait_seconds: Option<f64>,
}

/// A reason why a task is not running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reason {
    /// The reason as a code, for programs.
    #[cfg_attr(feature = "openapi", schema(example = "waits_its_turn"))]
    pub code: String,
    /// The reason as text, for people.
    pub detail: String,
}

/// One page of tasks, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskPage {
    /// The tasks; a page before the end of the list may hold fewer than the limit.
    pub tasks: Vec<Task>,
    /// The `cursor` of the next page; null at the end of the list.
    pub next_cursor: Option<String>,
}

/// The registered task types.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskTypes {
    /// The types, sorted by name.
    pub types: Vec<TaskType>,
}

/// A registered task type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskType {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The queue of its tasks unless the submit picks another; null: by priority.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub queue: Option<QueueName>,
    /// Maximum number of retries after the first attempt.
    pub max_retries: i32,
    /// Timeout of one attempt, in seconds.
    #[serde(serialize_with = "super::seconds")]
    pub timeout: f64,
    /// JSON Schema of its parameters.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub parameters_schema: Option<Box<RawValue>>,
    /// JSON Schema of its result.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub result_schema: Option<Box<RawValue>>,
    /// The role that a submit requires; null: any role that may submit.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub required_role: Option<Role>,
    /// Number of live workers that register it.
    pub workers: i64,
}
