//! `GET /auth/keys`, and the response form of all key routes.

use axum::Json;
use axum::extract::State;
use tasker_store::api_keys::{self, ApiKeyRecord};
use tasker_wire::{ApiKey, ApiKeys};

use crate::db::Db;
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::QueryProblems;

/// List the API keys
///
/// Active keys first, then revoked ones, each newest first. The keys themselves are not stored.
#[utoipa::path(
    get,
    path = "/auth/keys",
    tag = "sign-in",
    responses((status = 200, body = ApiKeys, description = "One entry per key"), QueryProblems),
)]
pub async fn list_keys(State(db): State<Db>, _: NoQuery) -> Result<Json<ApiKeys>, ApiError> {
    let records = api_keys::list(&db).await?;
    Ok(Json(ApiKeys {
        keys: records.into_iter().map(shown).collect(),
    }))
}

pub(super) fn shown(record: ApiKeyRecord) -> ApiKey {
    ApiKey {
        id: record.id,
        name: record.name,
        role: record.role,
        queues: record.queues,
        created_at: record.created_at,
        created_by: record.created_by,
        expires_at: record.expires_at,
        last_used_at: record.last_used_at,
        revoked_at: record.revoked_at,
        revoked_by: record.revoked_by,
    }
}
