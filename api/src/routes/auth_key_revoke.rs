//! `DELETE /auth/keys/{id}`

use axum::Json;
use axum::extract::{Path, State};
use tasker_shared::store::api_keys;
use tasker_shared::wire::ApiKey;
use uuid::Uuid;

use super::auth_keys::shown;
use crate::auth::{AuthRejection, Caller};
use crate::db::{retried, write_failed};
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::KeyProblems;
use crate::state::AppState;

/// Revoke an API key
///
/// Within five seconds no server takes it any more. Revoking it again changes nothing.
#[utoipa::path(
    delete,
    path = "/auth/keys/{id}",
    tag = "sign-in",
    params(("id" = uuid::Uuid, Path, description = "The key's id")),
    responses((status = 200, body = ApiKey, description = "The key as it is now"), KeyProblems),
)]
pub async fn revoke_key(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<ApiKey>, ApiError> {
    let id: Uuid = id.parse().map_err(|_| ApiError::InvalidId)?;
    let revoked = retried(|| api_keys::revoke(&state.db, id, caller.name())).await;
    // also when the outcome is unknown: it is looked up again when it is used
    state.auth.keys.forget(id);
    let record = revoked.map_err(write_failed)?.ok_or(AuthRejection::KeyNotFound)?;
    Ok(Json(shown(record)))
}
