//! `PUT /v1/templates`, `POST /v1/templates/validate`, `DELETE /v1/templates/{namespace}/{name}/{version}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tasker_store::queues::Declared;
use tasker_store::templates::{self, NewTemplate, Published};
use tasker_wire::{Problem, TemplatePublished, TemplateWarning};
use tasker_workflow::{Checked, ReadOptions, from_text};

use crate::auth::Caller;
use crate::db::{Db, write_failed};
use crate::error::ApiError;
use crate::http::body::TemplateBody;
use crate::http::path::TemplatePath;
use crate::http::query::NoQuery;
use crate::known_names::KnownNames;
use crate::openapi::problem_groups::{QueryProblems, SubmitProblems, TemplateProblems};
use crate::routes::queues::create::{declare, too_many};
use crate::schema::definition_schema_errors;
use crate::state::parts::QueueControl;
use crate::workflows::validation_errors;

/// Publish a version of a workflow template
///
/// In JSON or YAML. A published version never changes: another text under the same version is rejected. A
/// template that names the queue `{namespace}_queue` declares it.
#[utoipa::path(
    put,
    path = "/v1/templates",
    tag = "workflows",
    request_body(
        content((Object = "application/json"), (String = "application/yaml")),
        description = "One template",
    ),
    responses(
        (status = 201, body = TemplatePublished, description = "The version is new"),
        (status = 200, body = TemplatePublished, description = "The version was there with the same text"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The version is there with another text"),
        SubmitProblems,
    ),
)]
pub async fn put_template(
    State(db): State<Db>,
    State(names): State<KnownNames>,
    State(queues): State<QueueControl>,
    caller: Caller,
    _: NoQuery,
    TemplateBody(body, _held): TemplateBody,
) -> Result<(StatusCode, Json<TemplatePublished>), ApiError> {
    let checked = read(&body)?;
    let definition = &checked.definition;
    // first, so that a published template never names a queue of its namespace that is missing
    if let Some(queue) = definition.declared_queue() {
        caller.check(&queue)?;
        if declare(&queues, &queue).await? == Declared::TooMany {
            return Err(ApiError::Invalid(vec![too_many("/queue")]));
        }
    }
    let row = NewTemplate {
        namespace: definition.namespace.clone(),
        name: definition.name.clone(),
        version: definition.version.to_string(),
        description: definition.description.clone(),
        steps: i32::try_from(definition.steps.len()).unwrap_or(i32::MAX),
        template: definition.to_json(),
    };
    let mut published = templates::publish_new(&db, &row).await.map_err(write_failed)?;
    if published == Published::Other {
        // it may have been added by a statement at the same time, which this one did not see
        published = templates::publish_new(&db, &row).await.map_err(write_failed)?;
    }
    let status = match published {
        Published::New => StatusCode::CREATED,
        Published::Same => StatusCode::OK,
        Published::Other => {
            return Err(ApiError::VersionExists(format!(
                "{}/{} {}",
                row.namespace, row.name, row.version
            )));
        }
    };
    Ok((status, Json(answer(checked, &names))))
}

/// Validate a workflow template
///
/// Reports everything that is wrong with it, and publishes nothing.
#[utoipa::path(
    post,
    path = "/v1/templates/validate",
    tag = "workflows",
    request_body(
        content((Object = "application/json"), (String = "application/yaml")),
        description = "One template",
    ),
    responses(
        (status = 200, body = TemplatePublished, description = "It is valid"),
        SubmitProblems,
    ),
)]
pub async fn validate_template(
    State(names): State<KnownNames>,
    _: NoQuery,
    TemplateBody(body, _held): TemplateBody,
) -> Result<Json<TemplatePublished>, ApiError> {
    Ok(Json(answer(read(&body)?, &names)))
}

/// Delete a version of a workflow template
///
/// Workflows that were started from it go on.
#[utoipa::path(
    delete,
    path = "/v1/templates/{namespace}/{name}/{version}",
    tag = "workflows",
    params(
        ("namespace" = String, Path, description = "The namespace"),
        ("name" = String, Path, description = "The name"),
        ("version" = String, Path, description = "The version", example = "1.0.0"),
    ),
    responses((status = 204, description = "It is deleted"), TemplateProblems, QueryProblems),
)]
pub async fn delete_template(
    State(db): State<Db>,
    path: TemplatePath,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    let version = path.version.unwrap_or_default();
    let deleted = templates::delete(&db, &path.namespace, &path.name, &version).await;
    if deleted.map_err(write_failed)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::TemplateNotFound)
    }
}

fn read(body: &[u8]) -> Result<Checked, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::Malformed("The body is not text in UTF-8.".to_owned()))?;
    let options = ReadOptions {
        check_schema: Some(&definition_schema_errors),
        ..ReadOptions::default()
    };
    from_text(text, options).map_err(|invalid| ApiError::Invalid(validation_errors(&invalid)))
}

fn answer(checked: Checked, names: &KnownNames) -> TemplatePublished {
    let Checked { definition, warnings } = checked;
    let types = names.types.current();
    let mut warnings: Vec<TemplateWarning> = warnings
        .into_iter()
        .map(|issue| TemplateWarning {
            pointer: issue.pointer,
            detail: issue.message,
            line: issue.line,
        })
        .collect();
    let unknown = definition.steps.iter().enumerate();
    let unknown = unknown.filter(|(_, step)| types.get(&step.run).is_none());
    warnings.extend(unknown.map(|(index, step)| TemplateWarning {
        pointer: format!("/steps/{index}/run"),
        detail: format!("`{}` is not registered by any worker yet", step.run),
        line: None,
    }));
    TemplatePublished {
        hash: definition.hash().to_string(),
        steps: definition.steps.len(),
        version: definition.version.to_string(),
        namespace: definition.namespace,
        name: definition.name,
        warnings,
    }
}
