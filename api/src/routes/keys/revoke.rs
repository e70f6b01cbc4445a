//! `DELETE /auth/keys/{id}`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use tasker_store::{api_keys, retry_rolled_back};
use tasker_wire::ApiKey;
use uuid::Uuid;

use super::list::shown;
use crate::auth::{Auth, AuthRejection, Caller};
use crate::db::{Db, write_failed};
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::KeyProblems;

/// Revoke an API key
///
/// All servers reject it within five seconds. Idempotent.
#[utoipa::path(
    delete,
    path = "/auth/keys/{id}",
    tag = "sign-in",
    params(("id" = uuid::Uuid, Path, description = "The id of the key")),
    responses((status = 200, body = ApiKey, description = "The revoked key"), KeyProblems),
)]
pub async fn revoke_key(
    State(db): State<Db>,
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<ApiKey>, ApiError> {
    let id: Uuid = id.parse().map_err(|_| ApiError::InvalidId)?;
    let revoked = retry_rolled_back(|| api_keys::revoke(&db, id, caller.name())).await;
    // before the result is checked: if the outcome is unknown, the next use looks the key up again
    auth.keys.forget(id);
    let record = revoked.map_err(write_failed)?.ok_or(AuthRejection::KeyNotFound)?;
    Ok(Json(shown(record)))
}
