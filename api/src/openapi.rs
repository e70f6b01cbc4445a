//! The OpenAPI document: generated from the handlers, then refined.

mod live;
mod parameters;
pub mod problem_groups;
mod refine;

use std::sync::Arc;

use axum::Json;
use serde_json::Value;
use tasker_wire::Problem;
use utoipa::OpenApi;

use crate::auth::Auth;
use crate::known_names::{KnownNames, NamesSnapshot};

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
    pub fn answer(&self, auth: &Auth, names: &KnownNames) -> Json<Value> {
        if auth.is_on() {
            return Json(Value::clone(&self.0));
        }
        let NamesSnapshot { types, queues } = names.snapshot();
        Json(live::with_names(&self.0, &types, &queues))
    }
}
