//! `POST /v1/workflows/{id}/retry`

use axum::Json;
use axum::extract::State;
use tasker_core::task::{Hint, TaskId, TaskStatus};
use tasker_store::steps::operate::{Verb, operate};
use tasker_store::steps::{self, Advance};
use tasker_store::{retry_rolled_back, workflows};
use tasker_wire::{Problem, WorkflowAction};

use crate::auth::Caller;
use crate::db::write_failed;
use crate::error::ApiError;
use crate::http::path::WorkflowPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::WorkflowProblems;
use crate::state::parts::TaskActions;

/// Retry the failed steps of a workflow
///
/// Its dead letters run again, from their first attempt. Steps that have ended well are never run again.
#[utoipa::path(
    post,
    path = "/v1/workflows/{id}/retry",
    tag = "workflows",
    params(("id" = uuid::Uuid, Path, description = "The workflow")),
    responses(
        (status = 200, body = WorkflowAction, description = "The failed steps are pending again"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "No step of the workflow has failed, or it has ended"),
        WorkflowProblems,
    ),
)]
pub async fn retry_workflow(
    State(actions): State<TaskActions>,
    caller: Caller,
    WorkflowPath(id): WorkflowPath,
    _: NoQuery,
) -> Result<Json<WorkflowAction>, ApiError> {
    let changed = apply(&actions, id, None, Verb::Retry, (caller.name(), None)).await?;
    let record = workflows::get(&actions.db, id).await?;
    let record = record.ok_or(ApiError::WorkflowNotFound(id))?;
    if changed == 0 {
        return Err(if record.finished_at.is_some() {
            ApiError::WorkflowOver(record.status)
        } else {
            ApiError::NothingFailed(record.status)
        });
    }
    Ok(Json(WorkflowAction {
        workflow_id: id,
        status: record.status,
        cancelled: 0,
        stopping: 0,
        finished: 0,
        changed,
    }))
}

/// Applies `verb` to the dead letters of a workflow, pushes what is pending, and skips what follows. The last
/// argument is the user who asked, and their reason. Returns
/// the number of steps that changed.
pub(super) async fn apply(
    actions: &TaskActions,
    workflow: TaskId,
    step: Option<TaskId>,
    verb: Verb<'_>,
    (actor, reason): (&str, Option<&str>),
) -> Result<i64, ApiError> {
    let advance = retry_rolled_back(|| operate(&actions.db, workflow, step, verb, actor, reason)).await;
    let advance = advance.map_err(write_failed)?;
    let changed = advance.ended.len();
    if changed > 0 {
        metrics::counter!("tasker_operator_actions_total", "action" => "change_step").increment(1);
    }
    follow(actions, advance).await;
    Ok(i64::try_from(changed).unwrap_or(i64::MAX))
}

/// Pushes what is pending and sends the waves of skips. The leader sends a wave that fails here.
async fn follow(actions: &TaskActions, mut advance: Advance) {
    loop {
        let again = advance.ended.into_iter();
        let again = again.filter(|ended| ended.status == TaskStatus::Pending);
        let mut hints: Vec<Hint> = again
            .map(|ended| Hint::new(ended.id, ended.queue, ended.task_name))
            .collect();
        hints.extend(advance.ready);
        actions.pusher.push(hints).await;
        if advance.to_skip.is_empty() {
            return;
        }
        let wave = advance.to_skip;
        let next = retry_rolled_back(|| steps::skip_wave(&actions.db, &wave)).await;
        let Ok(next) = next else { return };
        advance = next;
    }
}
