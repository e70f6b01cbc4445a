//! Workflows and their steps.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use tasker_core::task::{QueueName, TaskId, TaskStatus};

/// The answer to the start of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowStarted {
    /// The workflow.
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub workflow_id: TaskId,
    /// The same id, by its other name.
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub task_uuid: TaskId,
    /// Its current state.
    #[cfg_attr(feature = "openapi", schema(example = "steps_in_process"))]
    pub status: String,
    /// The number of its steps.
    pub step_count: usize,
    /// The id of each step.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, uuid::Uuid>))]
    pub steps: BTreeMap<String, TaskId>,
    /// The time of the start.
    pub created_at: DateTime<Utc>,
    /// True if this is an earlier workflow with the same idempotency key.
    pub deduplicated: bool,
    /// Where to read more.
    pub links: WorkflowLinks,
}

/// The addresses of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowLinks {
    /// Its record.
    #[serde(rename = "self")]
    pub this: String,
    /// Its steps.
    pub steps: String,
    /// Its history.
    pub history: String,
}

impl WorkflowLinks {
    /// Returns the addresses of the workflow `id`.
    pub fn of(id: TaskId) -> Self {
        Self {
            this: format!("/v1/workflows/{id}"),
            steps: format!("/v1/workflows/{id}/workflow_steps"),
            history: format!("/v1/workflows/{id}/history"),
        }
    }
}

/// The whole record of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(
    missing_docs,
    reason = "the columns of the table, explained in the contract of the API"
)]
pub struct Workflow {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub workflow_id: TaskId,
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub task_uuid: TaskId,
    pub name: String,
    pub namespace: String,
    pub version: String,
    /// One of the twelve states.
    pub status: String,
    pub paused: bool,
    pub cancel_requested: bool,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    pub deadline: Option<DateTime<Utc>>,
    pub priority: i16,
    pub tags: Vec<String>,
    pub correlation_id: String,
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub context: Box<RawValue>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub output: Option<Box<RawValue>>,
    /// Why it was stopped: `cancelled`, `deadline`, `gave_up`, `step_failed`, ….
    pub reason: Option<String>,
    pub total_steps: i64,
    /// Waiting, scheduled and pending steps.
    pub pending_steps: i64,
    pub in_progress_steps: i64,
    /// Completed steps, and those that an operator resolved.
    pub completed_steps: i64,
    /// Dead letters, handled or not.
    pub failed_steps: i64,
    pub skipped_steps: i64,
    /// Steps that a worker may take now.
    pub ready_steps: i64,
    /// 0 to 100.
    pub completion_percentage: f64,
    pub execution_status: String,
    pub recommended_action: String,
    pub health_status: String,
    /// The steps; at most 1,000.
    pub steps: Vec<WorkflowStep>,
}

/// A page of workflows, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workflows {
    /// The workflows.
    pub workflows: Vec<WorkflowSummary>,
    /// The cursor of the next page; null at the end of the list.
    pub next_cursor: Option<String>,
}

/// A workflow in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "explained at `Workflow`")]
pub struct WorkflowSummary {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub workflow_id: TaskId,
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub task_uuid: TaskId,
    pub name: String,
    pub namespace: String,
    pub version: String,
    /// One of the seven stored states.
    pub status: String,
    pub paused: bool,
    pub cancel_requested: bool,
    pub total_steps: i32,
    pub tags: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
}

/// A step of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(
    missing_docs,
    reason = "the columns of the table, explained in the contract of the API"
)]
pub struct WorkflowStep {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub step_uuid: TaskId,
    pub name: String,
    /// Its place among the items of a map; left out for other steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<i32>,
    pub task_name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub queue: QueueName,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub status: TaskStatus,
    pub runs: i32,
    pub attempts: i32,
    pub max_attempts: i32,
    pub worker_id: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub progress: Option<Box<RawValue>>,
    /// Its result, any JSON; only in the answer about a single step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub result: Option<Box<RawValue>>,
    pub error: Option<String>,
    pub reason: Option<String>,
    /// That of its workflow.
    pub created_at: DateTime<Utc>,
    pub run_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
}

/// A page of the steps of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowSteps {
    /// The steps, in the order of their ids.
    pub steps: Vec<WorkflowStep>,
    /// The cursor of the next page; null at the end of the list.
    pub next_cursor: Option<String>,
}

/// The answer to an action on a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowAction {
    /// The workflow.
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub workflow_id: TaskId,
    /// Its state after the action.
    pub status: String,
    /// Steps that are cancelled now.
    pub cancelled: i64,
    /// Running steps that were asked to stop.
    pub stopping: i64,
    /// Steps that had ended before.
    pub finished: i64,
    /// Steps that the action made pending.
    pub changed: i64,
}

/// The history of a workflow as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowHistory {
    /// The changes, the oldest first.
    pub events: Vec<WorkflowChange>,
}

/// A change of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowChange {
    /// When it was.
    pub at: DateTime<Utc>,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// The step that it was about.
    pub step: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who asked for it.
    pub actor: Option<String>,
}
