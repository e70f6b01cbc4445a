//! `POST /dead-letters/retry`

use axum::Json;
use axum::extract::State;
use tasker_maintenance::dead_letters::{Action, BulkOperations};
use tasker_wire::{DeadLetterFilter, DeadLettersRetried};

use super::filter::{ManyRequest, read_many};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::query::Query;
use crate::openapi::problem_groups::SubmitProblems;

/// Retry dead letters
///
/// Retries all dead letters that match the filter, or every one with `"all": true`, each with its attempts
/// reset. Skips those whose idempotency key is held by another task that is not terminal. A task that fails
/// again during the retry is not retried a second time.
#[utoipa::path(
    post,
    path = "/dead-letters/retry",
    tag = "dead letters",
    params(("dry_run" = Option<bool>, Query, description = "Count only")),
    request_body = DeadLetterFilter,
    responses((status = 200, body = DeadLettersRetried, description = "The numbers of matched, retried and skipped dead letters"), SubmitProblems),
)]
pub async fn retry_dead_letters(
    State(operations): State<BulkOperations>,
    caller: Caller,
    query: Query,
    SingleBody(body, _held): SingleBody,
) -> Result<Json<DeadLettersRetried>, ApiError> {
    let ManyRequest { filter, dry_run } = read_many(&body, query, &caller)?;
    let outcome = if dry_run {
        operations.count(&filter).await?
    } else {
        operations.carry_out(Action::Retry, filter, caller.name()).await?
    };
    Ok(Json(DeadLettersRetried {
        matched: outcome.matched,
        retried: outcome.done,
        skipped: outcome.skipped,
        dry_run,
    }))
}
