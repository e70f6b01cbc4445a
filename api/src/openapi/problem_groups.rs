//! The problem responses that routes share, by the kind of route.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::response::Response;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

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

/// The problems of a route about one workflow.
#[derive(Debug)]
pub struct WorkflowProblems;

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

impl IntoResponses for WorkflowProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            MALFORMED,
            (404, "Workflow or step not found"),
            INVALID,
            UNAVAILABLE,
        ])
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
pub fn problem(description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}
