//! Tasker's server: HTTP API, migrations and maintenance duties.
//!
//! [`router`] builds the API over [`state::AppState`], [`maintenance`] starts the duties, and `main` starts
//! both.

pub mod auth;
pub mod cursor;
pub mod db;
pub mod error;
pub mod explain;
pub mod history;
pub mod http;
pub mod known_names;
pub mod maintenance;
pub mod migrate;
pub mod openapi;
pub mod postgres;
pub mod problems;
pub mod queues;
pub mod redis;
pub mod refresh;
pub mod routes;
pub mod schema;
pub mod serve;
pub mod state;
pub mod submit;
pub mod types;
pub mod validation_error;
pub mod watcher;
pub mod workflows;
pub mod write_only;

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::routing::{get, post};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use auth::Auth;
use http::{layer, outage};
use known_names::KnownNames;
use state::AppState;

/// Returns the router of the API.
pub fn router(state: AppState) -> Router {
    // submits handle outages themselves: aborting the request would hide whether its task was committed
    let submits = OpenApiRouter::new()
        .routes(routes!(routes::tasks::submit::submit))
        .routes(routes!(routes::tasks::submit_batch::submit_batch))
        .routes(routes!(routes::workflows::start::start_workflow))
        .route_layer(middleware::from_fn_with_state(
            state.clone(),
            outage::require_postgres,
        ));
    let others = OpenApiRouter::new()
        .routes(routes!(routes::tasks::list::list_tasks))
        .routes(routes!(routes::tasks::types::list_types))
        .routes(routes!(routes::tasks::totals::task_totals))
        .routes(routes!(
            routes::tasks::get::get_task,
            routes::tasks::cancel::delete_task
        ))
        .routes(routes!(routes::tasks::status::task_status))
        .routes(routes!(routes::tasks::result::task_result))
        .routes(routes!(routes::tasks::history::task_history))
        .routes(routes!(routes::tasks::explain::explain_task))
        .routes(routes!(routes::tasks::cancel::cancel_task))
        .routes(routes!(routes::tasks::retry::retry_task))
        .routes(routes!(
            routes::queues::list::list_queues,
            routes::queues::create::create_queue
        ))
        .routes(routes!(routes::queues::pause::pause_queue))
        .routes(routes!(routes::queues::resume::resume_queue))
        .routes(routes!(routes::queues::scaling::queue_scaling))
        .routes(routes!(routes::dead_letters::list::list_dead_letters))
        .routes(routes!(routes::dead_letters::retry::retry_dead_letters))
        .routes(routes!(routes::dead_letters::purge::purge_dead_letters))
        .routes(routes!(routes::workers::list_workers))
        .merge(templates())
        .merge(workflows())
        .routes(routes!(
            routes::keys::list::list_keys,
            routes::keys::create::create_key
        ))
        .routes(routes!(routes::keys::revoke::revoke_key))
        .merge(aliases())
        .route_layer(middleware::from_fn_with_state(
            state.clone(),
            outage::abort_on_outage,
        ));
    let sign_in = OpenApiRouter::new()
        .routes(routes!(routes::token::issue_token))
        .routes(routes!(routes::problem::problem_type));
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(submits)
        .merge(others)
        .merge(sign_in)
        .merge(operations())
        .split_for_parts();
    // after all routes are merged, since it adds the access rules to each operation
    auth::document::secure(&mut document);
    let document = openapi::Served::new(&document);
    let page = SwaggerUi::new("/api-docs/ui").config(Config::from(openapi::PATH.to_owned()));
    let router = router.merge(page).route(
        openapi::PATH,
        get(
            move |State(auth): State<Arc<Auth>>, State(names): State<KnownNames>| {
                ready(document.answer(&auth, &names))
            },
        ),
    );
    finished(router, state)
}

/// Returns the routes about the templates of workflows.
fn templates() -> OpenApiRouter<AppState> {
    use routes::templates::{get, list, publish};
    OpenApiRouter::new()
        .routes(routes!(list::list_templates, publish::put_template))
        .routes(routes!(publish::validate_template))
        .routes(routes!(get::newest_template))
        .routes(routes!(get::template_version, publish::delete_template))
}

/// Returns the routes about workflows, except their start.
fn workflows() -> OpenApiRouter<AppState> {
    use routes::workflows::{cancel, get, history, list, operate, step, steps};
    OpenApiRouter::new()
        .routes(routes!(list::list_workflows))
        .routes(routes!(get::get_workflow, cancel::delete_workflow))
        .routes(routes!(cancel::cancel_workflow))
        .routes(routes!(cancel::give_up_workflow))
        .routes(routes!(operate::retry_workflow))
        .routes(routes!(history::workflow_history))
        .routes(routes!(steps::list_steps))
        .routes(routes!(steps::get_step, step::change_step))
}

/// Returns the aliases of routes, which the OpenAPI document leaves out.
fn aliases() -> OpenApiRouter<AppState> {
    use routes::workflows::{cancel, history, list, operate, step, steps};
    OpenApiRouter::new()
        .route(
            "/v1/tasks",
            get(list::list_workflows).post(routes::workflows::start::start_workflow),
        )
        .route(
            "/v1/tasks/{id}",
            get(routes::workflows::get::get_workflow).delete(cancel::delete_workflow),
        )
        .route("/v1/tasks/{id}/cancel", post(cancel::cancel_workflow))
        .route("/v1/tasks/{id}/give_up", post(cancel::give_up_workflow))
        .route("/v1/tasks/{id}/retry", post(operate::retry_workflow))
        .route("/v1/tasks/{id}/history", get(history::workflow_history))
        .route("/v1/tasks/{id}/workflow_steps", get(steps::list_steps))
        .route(
            "/v1/tasks/{id}/workflow_steps/{step}",
            get(steps::get_step).patch(step::change_step),
        )
        .route("/dead-letter", get(routes::dead_letters::list::list_dead_letters))
        .route(
            "/dead-letter/retry",
            post(routes::dead_letters::retry::retry_dead_letters),
        )
        .route(
            "/dead-letter/purge",
            post(routes::dead_letters::purge::purge_dead_letters),
        )
}

/// Returns a router of health and metrics only, for an address of its own.
pub fn operations_router(state: AppState) -> Router {
    let (router, _) = operations().split_for_parts();
    finished(router, state)
}

fn operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(routes::health::checks::health))
        .routes(routes!(routes::health::checks::live))
        .routes(routes!(routes::health::checks::ready))
        .routes(routes!(routes::health::checks::detailed))
        .routes(routes!(routes::health::orchestration::orchestration))
        .routes(routes!(routes::health::metrics::metrics))
}

fn finished(router: Router<AppState>, state: AppState) -> Router {
    router
        // a route layer runs for matched paths only, so an unknown path is 404 without sign-in; the last
        // layer is the outermost, so its request id and metrics cover every answer
        .route_layer(middleware::from_fn_with_state(state.clone(), auth::guard))
        .fallback(layer::unknown_route)
        .method_not_allowed_fallback(layer::method_not_allowed)
        .layer(middleware::from_fn(layer::answer))
        .with_state(state)
}
