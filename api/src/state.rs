//! What the routes share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::config::{DispatchMode, ServerConfig};
use tasker_shared::lifecycle::Shutdown;
use tasker_shared::queue::Queue;
use tasker_shared::store::PgPool;
use tasker_shared::telemetry::Metrics;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::auth::api_keys::ApiKeyCache;
use crate::dead_letters::PASSES_AT_ONCE;
use crate::http::body::BATCH_BYTES_MAX;
use crate::orchestrator::Journal;
use crate::postgres::PostgresHealth;
use crate::queues::{DeclaredQueues, QueueTable};
use crate::redis::RedisHealth;
use crate::submit::Submitter;
use crate::submit::batch::BatchLane;
use crate::submit::budget::Budget;
use crate::submit::push::Pusher;
use crate::types::TypeCache;
use crate::watcher::Watcher;

/// Room for the bodies of single submits, unless twice the largest is more: nobody may take more than half.
const SINGLE_ROOM_BYTES: usize = 64 * 1024 * 1024;
/// Room for the bodies of batches: three of the largest.
const BATCH_ROOM_BYTES: usize = 3 * BATCH_BYTES_MAX;
/// Requests in progress, those that wait for a task included; health and metrics are not counted.
const REQUESTS_MAX: usize = 16_384;

/// The connections that a server is built on.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Postgres.
    pub db: PgPool,
    /// Redis; used unless the mode is `PollingOnly`.
    pub queue: Arc<Queue>,
}

/// What the routes share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Parts>);

/// The parts of [`AppState`].
#[derive(Debug)]
pub struct Parts {
    /// Postgres.
    pub db: PgPool,
    /// Redis.
    pub queue: Arc<Queue>,
    /// Whether Postgres is there.
    pub postgres: Arc<PostgresHealth>,
    /// Whether Redis is there.
    pub redis: Arc<RedisHealth>,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// How tasks travel to the workers.
    pub mode: DispatchMode,
    /// The declared queues.
    pub queues: DeclaredQueues,
    /// Keeps `queues` in step with Postgres.
    pub queue_table: Arc<QueueTable>,
    /// The registered task types.
    pub types: Arc<TypeCache>,
    /// Announces what is pending.
    pub pusher: Arc<Pusher>,
    /// The way of single submits.
    pub submitter: Submitter,
    /// The way of batches.
    pub batches: BatchLane,
    /// Wakes those who wait for tasks to end.
    pub watcher: Arc<Watcher>,
    /// Places for requests in progress.
    pub requests: Semaphore,
    /// Room for the bodies of single submits.
    pub single_budget: Budget,
    /// Room for the bodies of batches.
    pub batch_budget: Budget,
    /// Turns of those who work on many dead letters.
    pub dead_letter_passes: Arc<Semaphore>,
    /// The largest body, and the largest task of a batch.
    pub max_body_bytes: usize,
    /// How long an idempotency key holds at least.
    pub key_ttl: Duration,
    /// Silence after which a worker does not count as live.
    pub worker_timeout: Duration,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// The stop of this process.
    pub shutdown: Shutdown,
    /// Ends the flushers once nothing waits for them any more.
    pub end_of_submits: CancellationToken,
    /// What the maintenance duties of this server did.
    pub journal: Arc<Journal>,
    /// When this server started.
    pub started: Instant,
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    /// Requests in progress; health and metrics are not counted.
    pub fn requests_in_progress(&self) -> usize {
        REQUESTS_MAX - self.requests.available_permits()
    }
}

impl AppState {
    /// Builds the parts and starts their tasks on the tracker of `shutdown`.
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
        // those who still wait for an answer after the soft stop depend on it
        shutdown.spawn_named(
            "postgres watch",
            Arc::clone(&postgres).watch(end_of_submits.clone()),
        );
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
            single_budget: Budget::new(SINGLE_ROOM_BYTES.max(2 * config.max_body_bytes)),
            batch_budget: Budget::new(BATCH_ROOM_BYTES),
            dead_letter_passes: Arc::new(Semaphore::new(PASSES_AT_ONCE)),
            max_body_bytes: config.max_body_bytes,
            key_ttl,
            worker_timeout: config.worker_timeout,
            shutdown: shutdown.clone(),
            journal: Arc::default(),
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
