//! `GET /metrics`

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics::gauge;
use tasker_platform::telemetry::Metrics;
use tasker_store::show_pool;

use crate::state::parts::MetricSources;

/// Get the metrics of this server
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, body = String, content_type = "text/plain", description = "Prometheus text")),
)]
pub async fn metrics(State(sources): State<MetricSources>) -> impl IntoResponse {
    show(&sources);
    (
        [(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)],
        sources.metrics.render(),
    )
}

/// Updates the gauges that are read from the process at a scrape.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn show(sources: &MetricSources) {
    show_pool(sources.db.pool());
    // the state changes by time alone, when a cooldown ends
    sources.postgres.breaker().publish();
    sources.redis.breaker().publish();
    gauge!("tasker_submit_waiting").set(sources.submitter.waiting() as f64);
    gauge!("tasker_submit_memory_bytes", "lane" => "single").set(sources.bodies.single.taken() as f64);
    gauge!("tasker_submit_memory_bytes", "lane" => "batch").set(sources.bodies.batch.taken() as f64);
    gauge!("tasker_http_requests_in_progress").set(sources.admission.in_progress() as f64);
}
