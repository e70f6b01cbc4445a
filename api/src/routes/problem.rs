//! `GET /problems/{code}`

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use tasker_wire::{Problem, ProblemDescription};

use crate::error::ApiError;
use crate::problems::ProblemType;

/// Explain a kind of error
///
/// The `type` of every problem links here: the meaning of the code and the remedy. Responds with HTML where
/// `Accept` prefers `text/html`.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "errors",
    params(("code" = String, Path, description = "The `code` of a problem", example = "invalid_request")),
    responses(
        (status = 200, body = ProblemDescription, description = "The kind of error"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No problem type has this code"),
    ),
)]
pub async fn problem_type(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path(code) = path.map_err(|_| ApiError::ProblemNotFound)?;
    let problem = ProblemType::find(&code).ok_or(ApiError::ProblemNotFound)?;
    if prefers_html(&headers) {
        return Ok(Html(problem.page()).into_response());
    }
    Ok(Json(problem.to_wire()).into_response())
}

/// Returns true if `Accept` names HTML before JSON, as browsers do.
fn prefers_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let mut types = accept
        .unwrap_or_default()
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim());
    let first = types.find(|kind| ["text/html", "application/json", "*/*"].contains(kind));
    first == Some("text/html")
}
