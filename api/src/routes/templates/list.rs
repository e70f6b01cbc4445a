//! `GET /v1/templates`

use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use semver::Version;
use tasker_store::templates::{self, Listed};
use tasker_wire::{TemplateSummary, Templates};

use crate::db::Db;
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::QueryProblems;

/// List the published workflow templates
///
/// Workers publish the templates in their `TASKER_TEMPLATE_PATH` at start. A template remains after its
/// workers are gone.
#[utoipa::path(
    get,
    path = "/v1/templates",
    tag = "workflows",
    responses((status = 200, body = Templates, description = "All versions of all templates"), QueryProblems),
)]
pub async fn list_templates(State(db): State<Db>, _: NoQuery) -> Result<Json<Templates>, ApiError> {
    let mut listed = templates::all(&db).await?;
    listed.sort_by_cached_key(|one| {
        let version = Reverse(precedence(&one.version));
        (one.namespace.clone(), one.name.clone(), version)
    });
    Ok(Json(Templates {
        templates: listed.into_iter().map(shown).collect(),
    }))
}

/// Returns the sort key of a version; a text that is not a semantic version sorts before all.
pub(super) fn precedence(version: &str) -> Option<Version> {
    Version::parse(version).ok()
}

fn shown(one: Listed) -> TemplateSummary {
    TemplateSummary {
        namespace: one.namespace,
        name: one.name,
        version: one.version,
        description: one.description,
        steps: one.steps,
        published_at: one.published_at,
    }
}
