//! The OpenAPI document: what the handlers say of themselves, and the problems that they share.

use std::collections::BTreeMap;

use tasker_shared::wire::Problem;
use utoipa::openapi::response::Response;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi};

/// The document's head; the router adds the paths.
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
        (name = "queues", description = "Where tasks wait"),
        (name = "dead letters", description = "Tasks that ended without success, many at once"),
        (name = "workers", description = "Who runs them"),
        (name = "workflows", description = "What workflows are made of"),
        (name = "sign-in", description = "Tokens and API keys"),
        (name = "health", description = "How the server is"),
    ),
)]
pub struct Document;

const MALFORMED: (u16, &str) = (400, "The request cannot be read");
const NOT_FOUND: (u16, &str) = (404, "There is no such task");
const REFUSED: (u16, &str) = (422, "The request can be read, and is wrong; `errors` tells where");
const UNAVAILABLE: (u16, &str) = (
    503,
    "Too much at once, or a part of the system is away; see `Retry-After`",
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

/// The problems of the route that gives tokens.
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
            (415, "The body is no JSON by its content type"),
            REFUSED,
            UNAVAILABLE,
        ])
    }
}

impl IntoResponses for TaskProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[MALFORMED, NOT_FOUND, REFUSED, UNAVAILABLE])
    }
}

impl IntoResponses for QueueProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(404, "There is no such queue"), REFUSED, UNAVAILABLE])
    }
}

impl IntoResponses for TemplateProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(404, "There is no such template")])
    }
}

impl IntoResponses for KeyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[MALFORMED, (404, "There is no such key"), REFUSED, UNAVAILABLE])
    }
}

impl IntoResponses for TokenProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(409, "There is no sign-in"), REFUSED, UNAVAILABLE])
    }
}

impl IntoResponses for QueryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[REFUSED, UNAVAILABLE])
    }
}

fn problems(of: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    of.iter()
        .map(|(status, description)| (status.to_string(), problem(description).into()))
        .collect()
}

/// The answer that is a problem document.
pub(crate) fn problem(description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}
