//! A running worker: from the connections over registration to the end of its loops.

use std::sync::Arc;

use tasker_config::{TaskLogMode, WorkerConfig};
use tasker_engine::panics::Panics;
use tasker_engine::{Engine, EngineError, LoggedRuns, ServedQueue, Settings};
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::Metrics;
use tasker_queue::RedisQueues;
use tasker_store as store;
use tracing::info;

use crate::handlers::Handlers;
use crate::http::{self, Status};
use crate::registry::Registry;
use crate::run_error::RunError;
use crate::start::{self, Startup};

/// Runs a worker until it is stopped.
pub(crate) async fn run(
    config: WorkerConfig,
    registry: Arc<Registry>,
    metrics: Option<Metrics>,
    panics: Panics,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let db = store::connect(&config.database, "tasker-worker").map_err(RunError::Database)?;
    let queue = Arc::new(RedisQueues::new(&config.redis).map_err(RunError::Redis)?);
    let worker_id = start::worker_id(&config);
    let settings = settings(&config, &registry, Arc::clone(&worker_id));
    let handlers = Handlers {
        registry: Arc::clone(&registry),
        panics,
    };
    let engine = Engine::new(settings, db.clone(), Arc::clone(&queue), handlers, shutdown);
    let stops = engine.stops();
    let dropped = stops.on_drop();
    let status = Status {
        monitor: engine.monitor(),
        db: db.clone(),
        metrics,
    };
    // before registration: while the worker waits for Postgres, probes see it as live and not ready
    let addresses = std::iter::once(config.listen_addr).chain(config.metrics_addr);
    http::serve(status, addresses, stops).await?;
    let startup = Startup {
        stop: stops.shutdown.soft().clone(),
        worker_id: Arc::clone(&worker_id),
        config,
        registry,
        db,
        queue,
    };
    if let Some(key) = start::register(&startup).await? {
        info!(worker_id = %worker_id, "registered; claiming from the queues");
        engine.run(key).await?;
    }
    // `run` has done so, except for a worker that was stopped before it registered
    stops.no_more_completions.cancel();
    stops.shutdown.drained().await;
    dropped.disarm();
    if stops.shutdown.panicked() {
        return Err(RunError::Panicked);
    }
    if stops.is_declared_dead() {
        Err(RunError::DeclaredDead)
    } else {
        Ok(())
    }
}

fn settings(config: &WorkerConfig, registry: &Registry, worker_id: Arc<str>) -> Settings {
    let served = config.task_queues.iter().map(|slots| ServedQueue {
        queue: slots.queue.clone(),
        reserved: slots.reserved,
    });
    Settings {
        worker_id,
        task_names: registry.names().to_vec(),
        queues: served.collect(),
        pool_size: config.pool_size,
        mode: config.mode,
        redis: config.redis.clone(),
        ages_priorities: config.queues.age_limit.is_some(),
        claim_interval: config.claim_interval,
        heartbeat_interval: config.heartbeat_interval,
        worker_timeout: config.worker_timeout,
        shutdown_timeout: config.shutdown_timeout,
        breaker: config.breaker,
        task_log: match config.task_log {
            TaskLogMode::Off => LoggedRuns::None,
            TaskLogMode::Failures => LoggedRuns::Failed,
            TaskLogMode::All => LoggedRuns::All,
        },
    }
}

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Redis(error) => Self::Redis(error),
            EngineError::Thread(error) => Self::Thread(error),
        }
    }
}
