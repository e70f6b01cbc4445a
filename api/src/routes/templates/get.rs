//! `GET /v1/templates/{namespace}/{name}` and `GET /v1/templates/{namespace}/{name}/{version}`

use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use tasker_store::templates;
use tasker_wire::TemplateRecord;

use super::list::precedence;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::path::TemplatePath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::{QueryProblems, TemplateProblems};
use crate::routes::view;

/// Get the newest version of a workflow template
///
/// Versions are ordered by <https://semver.org>: a pre-release precedes its release.
#[utoipa::path(
    get,
    path = "/v1/templates/{namespace}/{name}",
    tag = "workflows",
    params(
        ("namespace" = String, Path, description = "The namespace"),
        ("name" = String, Path, description = "The name"),
    ),
    responses(
        (status = 200, body = TemplateRecord, description = "The template"),
        TemplateProblems,
        QueryProblems,
    ),
)]
pub async fn newest_template(
    State(db): State<Db>,
    path: TemplatePath,
    _: NoQuery,
) -> Result<Json<TemplateRecord>, ApiError> {
    record(&db, path).await
}

/// Get one version of a workflow template
#[utoipa::path(
    get,
    path = "/v1/templates/{namespace}/{name}/{version}",
    tag = "workflows",
    params(
        ("namespace" = String, Path, description = "The namespace"),
        ("name" = String, Path, description = "The name"),
        ("version" = String, Path, description = "The version", example = "1.0.0"),
    ),
    responses(
        (status = 200, body = TemplateRecord, description = "The template"),
        TemplateProblems,
        QueryProblems,
    ),
)]
pub async fn template_version(
    State(db): State<Db>,
    path: TemplatePath,
    _: NoQuery,
) -> Result<Json<TemplateRecord>, ApiError> {
    record(&db, path).await
}

/// Returns the version in the path, else the newest.
async fn record(db: &Db, path: TemplatePath) -> Result<Json<TemplateRecord>, ApiError> {
    let TemplatePath {
        namespace,
        name,
        version,
    } = path;
    let mut versions = templates::versions(db, &namespace, &name).await?;
    versions.sort_by_cached_key(|version| Reverse(precedence(version)));
    let version = match version {
        Some(version) => version,
        None => versions.first().cloned().ok_or(ApiError::TemplateNotFound)?,
    };
    let stored = templates::get(db, &namespace, &name, &version)
        .await?
        .ok_or(ApiError::TemplateNotFound)?;
    Ok(Json(TemplateRecord {
        template: view::raw(stored.template)?,
        published_at: stored.published_at,
        namespace,
        name,
        version,
        versions,
    }))
}
