//! Health, status and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics::gauge;
use serde_json::{Value, json};
use tasker_engine::{Monitor, Stops};
use tasker_platform::http::{HttpServer, Limits};
use tasker_platform::telemetry::{Component, Metrics};
use tasker_store::{PgPool, show_pool};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::run_error::RunError;

/// Maximum number of connections: probes and scrapers are few.
const CONNECTIONS_MAX: usize = 256;

/// The sources of health, status and metrics.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) monitor: Monitor,
    pub(crate) db: PgPool,
    /// `None` if the process has another recorder.
    pub(crate) metrics: Option<Metrics>,
}

/// Sets up the metrics of this process; `None` if another recorder is installed already.
pub(crate) fn install_metrics() -> Option<Metrics> {
    Metrics::install(Component::Worker)
        .inspect_err(|error| warn!(%error, "metrics recorder already installed in this process; metrics are not served"))
        .ok()
}

/// Serves health and metrics on these addresses until the worker has ended.
pub(crate) async fn serve(
    status: Status,
    addresses: impl Iterator<Item = SocketAddr>,
    stops: &Stops,
) -> Result<(), RunError> {
    let status = Arc::new(status);
    // all of it lives until the last completion is written, so that a draining worker can be scraped
    if let Some(metrics) = &status.metrics {
        let upkeep = metrics.clone();
        let stop = stops.no_more_completions.clone();
        stops
            .shutdown
            .spawn_named("metrics upkeep", async move { upkeep.upkeep(stop).await });
    }
    let door = HttpServer::new(
        Limits {
            connections: CONNECTIONS_MAX,
            ..Limits::default()
        },
        None,
    );
    for address in addresses {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| RunError::Listen(address, error))?;
        if let Ok(address) = listener.local_addr() {
            info!(%address, "serving health and metrics");
        }
        let served = door.clone().serve(
            listener,
            router(Arc::clone(&status)),
            stops.no_more_completions.clone(),
        );
        stops.shutdown.spawn_named("health server", served);
    }
    Ok(())
}

fn router(shared: Arc<Status>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .with_state(shared)
}

async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Returns that the process is alive, and the known problems with Redis.
async fn health(State(status): State<Arc<Status>>) -> Json<Value> {
    let monitor = &status.monitor;
    let mut health = json!({"status": "ok"});
    if monitor.settings().mode.uses_redis() {
        let report = monitor.redis_report();
        let degraded = report.unsupported.is_some() || !monitor.redis_is_available();
        health["redis"] = json!(if degraded { "degraded" } else { "ok" });
        if degraded {
            health["status"] = json!("degraded");
        }
        if let Some(why) = report.unsupported {
            health["causes"] = json!([why]);
        }
        if let Some(warning) = report.warning {
            health["warnings"] = json!([warning]);
        }
    }
    Json(health)
}

/// Returns 200 if the worker claims tasks: a process that is up but cannot reach Postgres is not ready.
async fn ready(State(status): State<Arc<Status>>) -> (StatusCode, Json<Value>) {
    let monitor = &status.monitor;
    let ready = monitor.is_ready();
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        code,
        Json(json!({
            "status": if ready { "ready" } else { "not_ready" },
            "postgres": monitor.postgres_is_available(),
            "quiet": monitor.is_quiet(),
            "stopping": monitor.is_stopping(),
            "breakers": breakers(monitor),
        })),
    )
}

/// Returns the states of the circuit breakers: `closed`, `open` or `half_open`; that of Redis is `off` in
/// `PollingOnly`.
fn breakers(monitor: &Monitor) -> Value {
    let redis = monitor.redis_breaker().as_str();
    json!({
        "postgres": monitor.postgres_breaker().as_str(),
        "redis": if monitor.settings().mode.uses_redis() { redis } else { "off" },
    })
}

async fn status(State(status): State<Arc<Status>>) -> Json<Value> {
    let monitor = &status.monitor;
    let settings = monitor.settings();
    Json(json!({
        "worker_id": &*settings.worker_id,
        "version": env!("CARGO_PKG_VERSION"),
        "queues": settings.queues.iter().map(|served| served.queue.as_str()).collect::<Vec<_>>(),
        "task_types": settings.task_names,
        "pool_size": settings.pool_size,
        "active": monitor.in_flight(),
        "uptime_seconds": monitor.uptime().as_secs(),
        "quiet": monitor.is_quiet(),
        "stopping": monitor.is_stopping(),
        "breakers": breakers(monitor),
    }))
}

#[expect(clippy::cast_precision_loss, reason = "slots are far below 2^52")]
async fn metrics_text(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let monitor = &status.monitor;
    let capacity = f64::from(monitor.settings().pool_size);
    // updates the gauges of the breakers
    let _ = breakers(monitor);
    show_pool(&status.db);
    // not the in-flight runs: one whose completion waits to be written is in flight, but its slot may be
    // taken again
    gauge!("worker_pool_active").set((monitor.unfinished() as f64).min(capacity));
    gauge!("tasker_in_flight_runs").set(monitor.in_flight() as f64);
    gauge!("tasker_worker_ready").set(f64::from(u8::from(monitor.is_ready())));
    gauge!("tasker_worker_queues_paused").set(monitor.paused_queues() as f64);
    gauge!("worker_pool_capacity").set(capacity);
    let metrics = status.metrics.as_ref();
    let text = metrics.map(Metrics::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text)
}
