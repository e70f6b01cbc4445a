//! The state shared by all routes.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_config::{DispatchMode, ServerConfig};
use tasker_maintenance::DutyStatus;
use tasker_maintenance::dead_letters::BulkOperations;
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::Metrics;
use tasker_queue::RedisQueues;
use tasker_store::{DeclaredQueues, PgPool};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::auth::api_keys::ApiKeyCache;
use crate::http::body::BATCH_BYTES_MAX;
use crate::postgres::PostgresHealth;
use crate::queues::QueueTable;
use crate::redis::RedisHealth;
use crate::submit::Submitter;
use crate::submit::batch::BatchLane;
use crate::submit::budget::MemoryBudget;
use crate::submit::push::Pusher;
use crate::types::TypeCache;
use crate::watcher::Watcher;

/// The memory budget of single-submit bodies, or twice the largest body if that is more: one caller may use
/// half of a budget, and its largest body has to fit.
const SINGLE_BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// The memory budget of batch bodies: three of the largest.
const BATCH_BUDGET_BYTES: usize = 3 * BATCH_BYTES_MAX;
/// The maximum number of requests in progress, including those that wait for a task; health and metrics are
/// not counted.
const REQUESTS_MAX: usize = 16_384;

/// The connections of a server to Postgres and Redis.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Postgres.
    pub db: PgPool,
    /// Redis; used unless the mode is `PollingOnly`.
    pub queue: Arc<RedisQueues>,
}

/// The state shared by all routes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Parts>);

/// The parts of [`AppState`].
#[derive(Debug)]
pub struct Parts {
    /// Postgres.
    pub db: PgPool,
    /// Redis.
    pub queue: Arc<RedisQueues>,
    /// The availability of Postgres.
    pub postgres: Arc<PostgresHealth>,
    /// The availability of Redis.
    pub redis: Arc<RedisHealth>,
    /// Sign-in and rate limits.
    pub auth: Arc<Auth>,
    /// The dispatch mode.
    pub mode: DispatchMode,
    /// The declared queues.
    pub queues: DeclaredQueues,
    /// Refreshes `queues` from Postgres.
    pub queue_table: Arc<QueueTable>,
    /// The registered task types.
    pub types: Arc<TypeCache>,
    /// Pushes wake-up hints to Redis.
    pub pusher: Arc<Pusher>,
    /// The group commit of single submits.
    pub submitter: Submitter,
    /// The write path of batches.
    pub batches: BatchLane,
    /// Wakes requests that wait for tasks to finish.
    pub watcher: Arc<Watcher>,
    /// Permits of requests in progress.
    pub requests: Semaphore,
    /// The memory budget of single-submit bodies.
    pub single_budget: MemoryBudget,
    /// The memory budget of batch bodies.
    pub batch_budget: MemoryBudget,
    /// Bulk operations on dead letters.
    pub dead_letter_operations: BulkOperations,
    /// The maximum size of a body, and of one task of a batch, in bytes.
    pub max_body_bytes: usize,
    /// The minimum lifetime of an idempotency key.
    pub key_ttl: Duration,
    /// The age of the last heartbeat from which a worker does not count as live.
    pub worker_timeout: Duration,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// The shutdown signal of this process.
    pub shutdown: Shutdown,
    /// Stops the flushers, after the last request has been answered.
    pub end_of_submits: CancellationToken,
    /// The status of the maintenance duties of this server.
    pub duty_status: Arc<DutyStatus>,
    /// The start time of this server.
    pub started: Instant,
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    /// Returns the number of requests in progress; health and metrics are not counted.
    pub fn requests_in_progress(&self) -> usize {
        REQUESTS_MAX - self.requests.available_permits()
    }
}

impl AppState {
    /// Builds the state and starts its background tasks on the tracker of `shutdown`.
    pub fn start(
        config: &ServerConfig,
        connections: Connections,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> Self {
        let Connections { db, queue } = connections;
        let end_of_submits = CancellationToken::new();
        let postgres = Arc::new(PostgresHealth::new(db.clone(), config.breaker));
        let redis = Arc::new(RedisHealth::new(Arc::clone(&queue), config.breaker));
        // not the soft stop: requests that are answered during the shutdown still need the probes
        shutdown.spawn_named(
            "postgres watch",
            Arc::clone(&postgres).watch(end_of_submits.clone()),
        );
        // in `PollingOnly` no command is sent to Redis, so it is not probed either
        let pusher = config.mode.uses_redis().then(|| {
            shutdown.spawn_named("redis watch", Arc::clone(&redis).watch(shutdown.soft().clone()));
            (Arc::clone(&redis), shutdown.clone())
        });
        let pusher = Arc::new(Pusher::new(pusher));
        let types = Arc::new(TypeCache::new(
            db.clone(),
            Arc::clone(&postgres),
            config.worker_timeout,
        ));
        let queue_table = Arc::new(QueueTable::new(
            db.clone(),
            Arc::clone(&postgres),
            config.queues.known.clone(),
        ));
        let watcher = Arc::new(Watcher::new(db.clone(), Arc::clone(&postgres)));
        shutdown.spawn_named("task types", Arc::clone(&types).run(shutdown.soft().clone()));
        shutdown.spawn_named(
            "declared queues",
            Arc::clone(&queue_table).run(shutdown.soft().clone()),
        );
        shutdown.spawn_named("watcher", Arc::clone(&watcher).run(shutdown.soft().clone()));
        shutdown.spawn_named("metrics upkeep", metrics.clone().upkeep(shutdown.soft().clone()));
        let keys = Arc::new(ApiKeyCache::new(
            db.clone(),
            Arc::clone(&postgres),
            shutdown.clone(),
        ));
        let auth = Arc::new(Auth::new(&config.sign_in, keys));
        shutdown.spawn_named(
            "sign-in upkeep",
            Arc::clone(&auth).upkeep(shutdown.soft().clone()),
        );
        let key_ttl = config.idempotency_ttl;
        Self(Arc::new(Parts {
            submitter: Submitter::start(&db, &postgres, &pusher, key_ttl, shutdown, &end_of_submits),
            batches: BatchLane::new(
                db.clone(),
                Arc::clone(&postgres),
                Arc::clone(&pusher),
                key_ttl,
                shutdown.clone(),
            ),
            requests: Semaphore::new(REQUESTS_MAX),
            mode: config.mode,
            queues: queue_table.declared(),
            queue_table,
            single_budget: MemoryBudget::new(SINGLE_BUDGET_BYTES.max(2 * config.max_body_bytes)),
            batch_budget: MemoryBudget::new(BATCH_BUDGET_BYTES),
            dead_letter_operations: BulkOperations::new(
                db.clone(),
                Arc::<Pusher>::clone(&pusher),
                key_ttl,
                shutdown.clone(),
            ),
            max_body_bytes: config.max_body_bytes,
            key_ttl,
            worker_timeout: config.worker_timeout,
            shutdown: shutdown.clone(),
            duty_status: Arc::default(),
            started: Instant::now(),
            end_of_submits,
            db,
            queue,
            postgres,
            redis,
            auth,
            types,
            pusher,
            watcher,
            metrics,
        }))
    }
}
