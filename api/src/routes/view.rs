//! Conversions of stored records to response bodies.

use std::fmt::Write as _;

use serde_json::value::RawValue;
use tasker_core::task::TaskStatus;
use tasker_store::records::TaskRecord;
use tasker_wire::{Submitted, Task, TaskResult, TaskState};

use crate::error::ApiError;
use crate::submit::Accepted;

pub(super) fn task(record: TaskRecord) -> Result<Task, ApiError> {
    Ok(Task {
        parameters: raw(record.parameters)?,
        metadata: raw(record.metadata)?,
        progress: record.progress.map(raw).transpose()?,
        result: record.result.map(raw).transpose()?,
        task_id: record.id,
        task_name: record.task_name,
        queue: record.queue,
        priority: record.priority,
        tags: record.tags,
        status: record.status,
        runs: record.runs,
        attempts: record.attempts,
        max_attempts: record.max_attempts,
        crash_count: record.crash_count,
        worker_id: record.worker_id,
        idempotency_key: record.idempotency_key,
        correlation_id: record.correlation_id,
        timeout_seconds: record.timeout_seconds,
        error: record.error,
        reason: record.reason,
        created_at: record.created_at,
        enqueued_at: record.enqueued_at,
        run_at: record.run_at,
        started_at: record.started_at,
        updated_at: record.updated_at,
        completed_at: record.completed_at,
        workflow_id: record.workflow_id,
        step: record.step,
        item: record.item,
    })
}

pub(super) fn state(record: TaskRecord) -> Result<TaskState, ApiError> {
    Ok(TaskState {
        progress: record.progress.map(raw).transpose()?,
        task_id: record.id,
        task_name: record.task_name,
        status: record.status,
        queue: record.queue,
        attempts: record.attempts,
        max_attempts: record.max_attempts,
        created_at: record.created_at,
        started_at: record.started_at,
        completed_at: record.completed_at,
        error: record.error,
    })
}

pub(super) fn result(mut record: TaskRecord) -> Result<TaskResult, ApiError> {
    let result = record.result.take().map(raw).transpose()?;
    Ok(TaskResult {
        state: state(record)?,
        result,
    })
}

/// Returns stored JSON unchanged.
pub(super) fn raw(text: String) -> Result<Box<RawValue>, ApiError> {
    RawValue::from_string(text)
        .map_err(|error| ApiError::Internal(format!("stored JSON cannot be read: {error}")))
}

/// Returns the answer to a submit. `not_stored` are the write-only parameters that were sent.
pub(super) fn submitted(task_name: String, accepted: Accepted, not_stored: &[String]) -> Submitted {
    let mut message = match (accepted.deduplicated, accepted.status) {
        (true, _) => "A task with this idempotency key already exists",
        (false, TaskStatus::Scheduled) => "The task is stored and scheduled",
        (false, _) => "The task is stored and pending",
    }
    .to_owned();
    if !not_stored.is_empty() {
        let names = not_stored.join("`, `");
        let _ = write!(message, "; write-only parameters are not stored: `{names}`");
    }
    Submitted {
        task_id: accepted.id,
        task_name,
        status: accepted.status,
        queue: accepted.queue,
        deduplicated: accepted.deduplicated,
        message,
    }
}
