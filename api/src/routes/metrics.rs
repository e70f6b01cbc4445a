//! `GET /metrics`

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics::gauge;
use tasker_platform::telemetry::Metrics;
use tasker_store::show_pool;

use crate::state::AppState;

/// Get the metrics of this server
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, body = String, content_type = "text/plain", description = "Prometheus text")),
)]
pub async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    show(&state);
    (
        [(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)],
        state.metrics.render(),
    )
}

/// Updates the gauges that are read from the process at a scrape.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn show(state: &AppState) {
    show_pool(&state.db);
    // the state changes by time alone, when a cooldown ends
    state.postgres.breaker().publish();
    state.redis.breaker().publish();
    gauge!("tasker_submit_waiting").set(state.submitter.waiting() as f64);
    gauge!("tasker_submit_memory_bytes", "lane" => "single").set(state.bodies.single.taken() as f64);
    gauge!("tasker_submit_memory_bytes", "lane" => "batch").set(state.bodies.batch.taken() as f64);
    gauge!("tasker_http_requests_in_progress").set(state.requests_in_progress() as f64);
}
