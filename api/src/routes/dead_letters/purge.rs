//! `POST /dead-letters/purge`

use axum::Json;
use axum::extract::State;
use tasker_maintenance::dead_letters::{Action, BulkOperations};
use tasker_wire::{DeadLetterFilter, DeadLettersPurged};

use super::filter::{ManyRequest, read_many};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::query::Query;
use crate::openapi::problem_groups::SubmitProblems;

/// Purge dead letters
///
/// Deletes all dead letters that match the filter, or every one with `"all": true`, and their idempotency
/// keys. The purge of each is kept as an event.
#[utoipa::path(
    post,
    path = "/dead-letters/purge",
    tag = "dead letters",
    params(("dry_run" = Option<bool>, Query, description = "Count only")),
    request_body = DeadLetterFilter,
    responses((status = 200, body = DeadLettersPurged, description = "The numbers of matched, purged and skipped dead letters"), SubmitProblems),
)]
pub async fn purge_dead_letters(
    State(operations): State<BulkOperations>,
    caller: Caller,
    query: Query,
    SingleBody(body, _held): SingleBody,
) -> Result<Json<DeadLettersPurged>, ApiError> {
    let ManyRequest { filter, dry_run } = read_many(&body, query, &caller)?;
    let outcome = if dry_run {
        operations.count(&filter).await?
    } else {
        operations.carry_out(Action::Purge, filter, caller.name()).await?
    };
    Ok(Json(DeadLettersPurged {
        matched: outcome.matched,
        purged: outcome.done,
        skipped: outcome.skipped,
        dry_run,
    }))
}
