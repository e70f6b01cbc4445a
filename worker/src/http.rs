//! Health, status and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics::gauge;
use serde_json::{Value, json};
use tasker_platform::http::{HttpServer, Limits};
use tasker_platform::telemetry::{Component, Metrics};
use tasker_store::show_pool;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::WorkerConfig;
use crate::runtime::{Parts, RunError};

/// A pop or a claim counts as recent for this long: ten times what an empty pop takes.
const RECENT: Duration = Duration::from_secs(10);
/// Maximum number of connections: probes and scrapers are few.
const CONNECTIONS_MAX: usize = 256;
/// The stored time that means "never".
const NEVER: u64 = u64::MAX;

/// The facts that health and readiness are derived from.
#[derive(Debug)]
pub(crate) struct Status {
    began: Instant,
    metrics: Option<Metrics>,
    listen: Vec<SocketAddr>,
    popped_at: AtomicU64,
    claimed_at: AtomicU64,
}

impl Status {
    pub(crate) fn new(config: &WorkerConfig, metrics: Option<Metrics>) -> Self {
        Self {
            began: Instant::now(),
            metrics,
            listen: std::iter::once(config.listen_addr)
                .chain(config.metrics_addr)
                .collect(),
            popped_at: AtomicU64::new(NEVER),
            claimed_at: AtomicU64::new(NEVER),
        }
    }

    /// Records that a pop was answered, also an empty one.
    pub(crate) fn popped(&self) {
        self.popped_at.store(self.now(), Ordering::Relaxed);
    }

    /// Records that a claim was answered.
    pub(crate) fn claimed(&self) {
        self.claimed_at.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn took_work_lately(&self) -> bool {
        let recent = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            NEVER => false,
            at => u128::from(self.now().saturating_sub(at)) <= RECENT.as_millis(),
        };
        recent(&self.popped_at) || recent(&self.claimed_at)
    }
}

/// Sets up the metrics of this process; `None` if another recorder is installed already.
pub(crate) fn install_metrics() -> Option<Metrics> {
    Metrics::install(Component::Worker)
        .inspect_err(|error| warn!(%error, "metrics recorder already installed in this process; metrics are not served"))
        .ok()
}

/// Serves health and metrics on the configured addresses until the worker has ended.
pub(crate) async fn serve(parts: &Arc<Parts>) -> Result<(), RunError> {
    // all of it lives until the last completion is written, so that a draining worker can be scraped
    if let Some(metrics) = &parts.status.metrics {
        let upkeep = metrics.clone();
        let stop = parts.no_more_completions.clone();
        parts
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
    for address in parts.status.listen.clone() {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| RunError::Listen(address, error))?;
        if let Ok(address) = listener.local_addr() {
            info!(%address, "serving health and metrics");
        }
        let served = door.clone().serve(
            listener,
            router(Arc::clone(parts)),
            parts.no_more_completions.clone(),
        );
        parts.shutdown.spawn_named("health server", served);
    }
    Ok(())
}

fn router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .with_state(parts)
}

async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Returns that the process is alive, and the known problems with Redis.
async fn health(State(parts): State<Arc<Parts>>) -> Json<Value> {
    let mut health = json!({"status": "ok"});
    if parts.config.mode.uses_redis() {
        let report = parts.redis_check.report();
        let degraded = report.unsupported.is_some() || !parts.redis.is_available();
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

fn is_ready(parts: &Parts) -> bool {
    // with all slots taken the last pop or claim is as old as the tasks that run
    let saturated = parts.in_flight.len() >= parts.config.pool_size as usize;
    // false from the moment that the worker is quiet or stops
    let claims = !parts.no_more_claims.is_cancelled();
    claims && parts.postgres.is_available() && (parts.status.took_work_lately() || saturated)
}

/// Returns 200 if the worker claims tasks: a process that is up but cannot reach Postgres is not ready.
async fn ready(State(parts): State<Arc<Parts>>) -> (StatusCode, Json<Value>) {
    let ready = is_ready(&parts);
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let status = if ready { "ready" } else { "not_ready" };
    (
        code,
        Json(json!({
            "status": status,
            "postgres": parts.postgres.is_available(),
            "quiet": parts.no_more_claims.is_cancelled(),
            "stopping": parts.shutdown.soft().is_cancelled(),
            "breakers": breakers(&parts),
        })),
    )
}

/// Returns the states of the circuit breakers: `closed`, `open` or `half_open`; that of Redis is `off` in
/// `PollingOnly`.
fn breakers(parts: &Parts) -> Value {
    let redis = parts.redis.breaker().as_str();
    json!({
        "postgres": parts.postgres.breaker().as_str(),
        "redis": if parts.config.mode.uses_redis() { redis } else { "off" },
    })
}

async fn status(State(parts): State<Arc<Parts>>) -> Json<Value> {
    Json(json!({
        "worker_id": &*parts.worker_id,
        "version": env!("CARGO_PKG_VERSION"),
        "queues": parts.config.task_queues.iter().map(|slots| slots.queue.as_str()).collect::<Vec<_>>(),
        "task_types": parts.registry.names(),
        "pool_size": parts.config.pool_size,
        "active": parts.in_flight.len(),
        "uptime_seconds": parts.status.began.elapsed().as_secs(),
        "quiet": parts.no_more_claims.is_cancelled(),
        "stopping": parts.shutdown.soft().is_cancelled(),
        "breakers": breakers(&parts),
    }))
}

#[expect(clippy::cast_precision_loss, reason = "slots are far below 2^52")]
async fn metrics_text(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    // updates the gauges of the breakers
    let _ = breakers(&parts);
    show_pool(&parts.db);
    // not the in-flight runs: one whose completion waits to be written is in flight, but its slot may be
    // taken again
    gauge!("worker_pool_active").set((parts.runs.len() as f64).min(f64::from(parts.config.pool_size)));
    gauge!("tasker_in_flight_runs").set(parts.in_flight.len() as f64);
    gauge!("tasker_worker_ready").set(f64::from(u8::from(is_ready(&parts))));
    gauge!("tasker_worker_queues_paused").set(parts.paused.count() as f64);
    gauge!("worker_pool_capacity").set(f64::from(parts.config.pool_size));
    let metrics = parts.status.metrics.as_ref();
    let text = metrics.map(Metrics::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text)
}
