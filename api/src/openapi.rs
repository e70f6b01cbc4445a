//! The OpenAPI document: generated from the handlers, with the problem responses that they share.

mod live;
mod refine;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use serde_json::Value;
use tasker_wire::Problem;
use utoipa::openapi::response::Response;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi};

use crate::state::AppState;

/// The head of the document; the router adds the paths.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Tasker",
        description = "Background tasks: submitted over HTTP, stored in Postgres, dispatched through Redis.",
        license(name = "MIT", identifier = "MIT"),
    ),
    components(schemas(Problem)),
    tags(
        (name = "tasks", description = "Submit tasks and follow them"),
        (name = "queues", description = "List, declare, pause and resume queues"),
        (name = "dead letters", description = "List, retry and purge failed tasks in bulk"),
        (name = "workers", description = "The processes that run tasks"),
        (name = "workflows", description = "Published workflow templates"),
        (name = "sign-in", description = "Tokens and API keys"),
        (name = "errors", description = "The meaning of problem codes"),
        (name = "health", description = "Health and metrics of the server"),
    ),
)]
pub struct Document;

/// The path of the document.
pub const PATH: &str = "/api-docs/openapi.json";

/// The served document.
#[derive(Debug, Clone)]
pub struct Served(Arc<Value>);

impl Served {
    /// Refines the generated document.
    pub fn new(document: &utoipa::openapi::OpenApi) -> Self {
        let mut document = serde_json::to_value(document).unwrap_or_default();
        refine::refine(&mut document);
        Self(Arc::new(document))
    }

    /// Returns the document. Where sign-in is off it includes the names of the task types and queues, which
    /// every caller may list then.
    pub fn answer(&self, state: &AppState) -> Json<Value> {
        if state.auth.is_on() {
            return Json(Value::clone(&self.0));
        }
        Json(live::with_names(
            &self.0,
            &state.types.current(),
            &state.queues.snapshot(),
        ))
    }
}

const MALFORMED: (u16, &str) = (400, "The request cannot be parsed");
const NOT_FOUND: (u16, &str) = (404, "Task not found");
const INVALID: (u16, &str) = (
    422,
    "The request is not valid; `errors` lists all validation errors",
);
const UNAVAILABLE: (u16, &str) = (
    503,
    "Server overloaded or Postgres unavailable; see `Retry-After`",
);

/// The problems of a route that reads a JSON body.
#[derive(Debug)]
pub struct SubmitProblems;

/// The problems of a route about one task.
#[derive(Debug)]
pub struct TaskProblems;

/// The problems of a route about one queue.
#[derive(Debug)]
pub struct QueueProblems;

/// The problems of a route about one template.
#[derive(Debug)]
pub struct TemplateProblems;

/// The problems of a route about one API key.
#[derive(Debug)]
pub struct KeyProblems;

/// The problems of the route that issues tokens.
#[derive(Debug)]
pub struct TokenProblems;

/// The problems of a route that only reads its query.
#[derive(Debug)]
pub struct QueryProblems;

impl IntoResponses for SubmitProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            MALFORMED,
            (413, "The body is too large"),
            (
                415,
                "The content type is not JSON, or the content encoding is not gzip or deflate",
            ),
            INVALID,
            UNAVAILABLE,
        ])
    }
}

impl IntoResponses for TaskProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[MALFORMED, NOT_FOUND, INVALID, UNAVAILABLE])
    }
}

impl IntoResponses for QueueProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(404, "Queue not found"), INVALID, UNAVAILABLE])
    }
}

impl IntoResponses for TemplateProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(404, "Template not found")])
    }
}

impl IntoResponses for KeyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[MALFORMED, (404, "API key not found"), INVALID, UNAVAILABLE])
    }
}

impl IntoResponses for TokenProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(409, "Sign-in is off"), INVALID, UNAVAILABLE])
    }
}

impl IntoResponses for QueryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[INVALID, UNAVAILABLE])
    }
}

fn problems(of: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    of.iter()
        .map(|(status, description)| (status.to_string(), problem(description).into()))
        .collect()
}

/// Returns a response that is a problem document.
pub(crate) fn problem(description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}
