//! `PATCH /v1/workflows/{id}/workflow_steps/{step}`

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use tasker_core::task::TaskStatus;
use tasker_store::retry_rolled_back;
use tasker_store::steps::operate::{Verb, skip_later};
use tasker_wire::{Problem, WorkflowStep};
use utoipa::ToSchema;

use super::operate::apply;
use super::view;
use crate::auth::Caller;
use crate::db::write_failed;
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::fields::Fields;
use crate::http::path::StepPath;
use crate::http::query::NoQuery;
use crate::http::values;
use crate::openapi::problem_groups::{SubmitProblems, WorkflowProblems};
use crate::state::parts::TaskActions;

/// The maximum length of a text for the history, in characters.
const TEXT_CHARS: usize = 255;
/// The actions, by their names.
const ACTIONS: [&str; 4] = ["reset_for_retry", "resolve_manually", "complete_manually", "skip"];

/// What happens to a step.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"action": "resolve_manually", "result": {"paid": true}, "reason": "paid by hand"}))]
pub struct StepRequest<'a> {
    /// `reset_for_retry`, `resolve_manually`, `complete_manually` or `skip`.
    #[schema(value_type = String)]
    pub action: String,
    /// The result that its children read, for `resolve_manually` and `complete_manually`; null if left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    pub result: Option<&'a RawValue>,
    /// Who decided it; the caller if left out.
    #[serde(default)]
    pub resolved_by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Change a failed or waiting step
///
/// A failed step (`dead_letter`) runs again, counts as done with a result, or is skipped. A step that waits
/// for its parents can only be skipped; it is so once they have ended.
#[utoipa::path(
    patch,
    path = "/v1/workflows/{id}/workflow_steps/{step}",
    tag = "workflows",
    params(
        ("id" = uuid::Uuid, Path, description = "The workflow"),
        ("step" = String, Path, description = "The name or the id of the step"),
    ),
    request_body = StepRequest,
    responses(
        (status = 200, body = WorkflowStep, description = "The step after the action"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The state of the step does not allow it"),
        WorkflowProblems,
        SubmitProblems,
    ),
)]
pub async fn change_step(
    State(actions): State<TaskActions>,
    caller: Caller,
    path: StepPath,
    _: NoQuery,
    SingleBody(body, _held): SingleBody,
) -> Result<Json<WorkflowStep>, ApiError> {
    let request = read(&body)?;
    let step = path.find(&actions.db).await?;
    let actor = request.resolved_by.as_deref().unwrap_or_else(|| caller.name());
    let verb = match request.action.as_str() {
        "reset_for_retry" => Verb::Retry,
        "skip" => Verb::Skip,
        _ => Verb::Resolve(request.result.map_or("null", RawValue::get)),
    };
    let mut changed = apply(
        &actions,
        path.workflow,
        Some(step.id),
        verb,
        (actor, request.reason.as_deref()),
    )
    .await?;
    if changed == 0 && verb == Verb::Skip && step.status == TaskStatus::Waiting {
        let marked = retry_rolled_back(|| skip_later(&actions.db, path.workflow, step.id, actor)).await;
        changed = i64::from(marked.map_err(write_failed)?);
    }
    if changed == 0 {
        return Err(ApiError::StepState {
            status: step.status,
            action: request.action,
        });
    }
    view::step(path.find(&actions.db).await?).map(Json)
}

/// Reads a text for the history.
fn short_text(raw: &RawValue) -> Result<String, String> {
    let text = values::string(raw)?;
    if text.is_empty() || text.chars().count() > TEXT_CHARS {
        return Err(format!("must have 1 to {TEXT_CHARS} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(text)
}

fn read(body: &[u8]) -> Result<StepRequest<'_>, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let action = fields.require("action", |raw| {
        let action = values::string(raw)?;
        let known = ACTIONS.contains(&action.as_str());
        known
            .then_some(action)
            .ok_or_else(|| format!("must be one of {}", ACTIONS.join(", ")))
    });
    let request = StepRequest {
        action: action.unwrap_or_default(),
        result: fields.raw("result"),
        resolved_by: fields.take("resolved_by", short_text),
        reason: fields.take("reason", short_text),
    };
    match fields.finish() {
        errors if errors.is_empty() => Ok(request),
        errors => Err(ApiError::Invalid(errors)),
    }
}
