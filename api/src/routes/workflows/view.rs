//! Conversions of the records of workflows to response bodies.

use std::collections::HashMap;

use tasker_core::task::TaskStatus;
use tasker_store::workflows::{StepRecord, WorkflowRecord};
use tasker_wire::{Workflow, WorkflowStep, WorkflowSummary};
use tasker_workflow::states::{
    StepCounts, WorkflowState, completion_percentage, execution_status, health_status, recommended_action,
    shown_state,
};

use crate::error::ApiError;
use crate::routes::view::raw;

pub(super) fn workflow(
    record: WorkflowRecord,
    output: Option<String>,
    counts: &HashMap<TaskStatus, i64>,
    steps: Vec<StepRecord>,
) -> Result<Workflow, ApiError> {
    let stored: WorkflowState = record
        .status
        .parse()
        .map_err(|_| ApiError::Internal(format!("unknown state of a workflow: {}", record.status)))?;
    let figures = step_counts(&record, counts);
    Ok(Workflow {
        context: raw(record.context)?,
        output: output.map(raw).transpose()?,
        steps: steps.into_iter().map(step).collect::<Result<_, _>>()?,
        workflow_id: record.id,
        task_uuid: record.id,
        name: record.name,
        namespace: record.namespace,
        version: record.version,
        status: shown_state(stored, &figures).as_str().to_owned(),
        paused: record.paused_at.is_some() && record.finished_at.is_none(),
        cancel_requested: record.cancel_requested_at.is_some(),
        created_at: record.created_at,
        completed_at: record.finished_at,
        deadline: record.deadline_at,
        priority: record.priority,
        tags: record.tags,
        correlation_id: record.correlation_id,
        reason: record.reason,
        total_steps: i64::from(record.steps),
        pending_steps: signed(figures.pending_steps()),
        in_progress_steps: signed(figures.in_progress_steps()),
        completed_steps: signed(figures.completed_steps()),
        failed_steps: signed(figures.failed_steps()),
        skipped_steps: signed(figures.skipped),
        ready_steps: signed(figures.ready_steps()),
        completion_percentage: completion_percentage(&figures),
        execution_status: execution_status(&figures).to_string(),
        recommended_action: recommended_action(&figures).to_string(),
        health_status: health_status(&figures).to_string(),
    })
}

/// Returns the number of steps in each state. Of the dead letters of a live workflow the unhandled ones block
/// it.
fn step_counts(record: &WorkflowRecord, counts: &HashMap<TaskStatus, i64>) -> StepCounts {
    let mut figures = StepCounts::default();
    let blocking = if record.finished_at.is_none() {
        u64::try_from(record.failed).unwrap_or_default()
    } else {
        0
    };
    for (status, count) in counts {
        let count = u64::try_from(*count).unwrap_or_default();
        if *status == TaskStatus::DeadLetter {
            let blocking = blocking.min(count);
            figures.add((*status).into(), true, blocking);
            figures.add((*status).into(), false, count - blocking);
        } else {
            figures.add((*status).into(), false, count);
        }
    }
    figures
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn summary(record: WorkflowRecord) -> WorkflowSummary {
    WorkflowSummary {
        workflow_id: record.id,
        task_uuid: record.id,
        name: record.name,
        namespace: record.namespace,
        version: record.version,
        status: record.status,
        paused: record.paused_at.is_some() && record.finished_at.is_none(),
        cancel_requested: record.cancel_requested_at.is_some(),
        total_steps: record.steps,
        tags: record.tags,
        created_at: record.created_at,
        completed_at: record.finished_at,
    }
}

pub(super) fn step(record: StepRecord) -> Result<WorkflowStep, ApiError> {
    Ok(WorkflowStep {
        progress: record.progress.map(raw).transpose()?,
        result: record.result.map(raw).transpose()?,
        step_uuid: record.id,
        name: record.step,
        item: record.item,
        task_name: record.task_name,
        queue: record.queue,
        status: record.status,
        runs: record.runs,
        attempts: record.attempts,
        max_attempts: record.max_attempts,
        worker_id: record.worker_id,
        error: record.error,
        reason: record.reason,
        created_at: record.created_at,
        run_at: record.run_at,
        started_at: record.started_at,
        completed_at: record.completed_at,
    })
}
