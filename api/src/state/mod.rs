//! The state of the server: its handles, assembled once.
//!
//! A handler takes only the parts of [`parts`] that it needs, so its signature shows its dependencies;
//! `from_ref.rs` derives these parts from [`AppState`].

mod from_ref;
pub mod parts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_config::{DispatchMode, Environment, ServerConfig};
use tasker_maintenance::dead_letters::BulkOperations;
use tasker_maintenance::{DutyStatus, Handles as DutyHandles};
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::Metrics;
use tasker_queue::RedisQueues;
use tasker_store::PgPool;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::auth::api_keys::ApiKeyCache;
use crate::db::Db;
use crate::http::admission::Admission;
use crate::http::body::BodyBudgets;
use crate::known_names::KnownNames;
use crate::postgres::PostgresHealth;
use crate::queues::QueueTable;
use crate::redis::RedisHealth;
use crate::submit::Submitter;
use crate::submit::batch::BatchLane;
use crate::submit::push::Pusher;
use crate::types::TypeCache;
use crate::watcher::Watcher;

/// The connections of a server to Postgres and Redis.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Postgres.
    pub db: PgPool,
    /// Redis; used unless the mode is `PollingOnly`.
    pub queue: Arc<RedisQueues>,
}

/// The state of the router, from which handlers take their parts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Handles>);

/// The handles that the parts are made of.
#[derive(Debug)]
struct Handles {
    db: Db,
    queue: Arc<RedisQueues>,
    postgres: Arc<PostgresHealth>,
    redis: Arc<RedisHealth>,
    auth: Arc<Auth>,
    mode: DispatchMode,
    names: KnownNames,
    pusher: Arc<Pusher>,
    submitter: Submitter,
    batches: BatchLane,
    watcher: Arc<Watcher>,
    admission: Admission,
    bodies: BodyBudgets,
    dead_letters: BulkOperations,
    /// The name of the environment, which selects the changes of a workflow's definition.
    environment: Environment,
    /// The deadline of workflows that set none.
    workflow_max_age: Duration,
    /// The minimum lifetime of an idempotency key.
    key_ttl: Duration,
    /// The age of the last heartbeat from which a worker does not count as live.
    worker_timeout: Duration,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Stops the flushers.
    end_of_submits: CancellationToken,
    duty_status: Arc<DutyStatus>,
    started: Instant,
}

impl AppState {
    /// Builds the state and starts its background tasks on the tracker of `shutdown`.
    pub fn start(
        config: &ServerConfig,
        connections: Connections,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> Self {
        let Connections { db: pool, queue } = connections;
        let end_of_submits = CancellationToken::new();
        let postgres = Arc::new(PostgresHealth::new(pool.clone(), config.breaker));
        let db = Db::new(pool, Arc::clone(&postgres) as Arc<_>);
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
        let watcher = Arc::new(Watcher::new(db.clone(), Arc::clone(&postgres)));
        shutdown.spawn_named("watcher", Arc::clone(&watcher).run(shutdown.soft().clone()));
        shutdown.spawn_named("metrics upkeep", metrics.clone().upkeep(shutdown.soft().clone()));
        let key_ttl = config.idempotency_ttl;
        Self(Arc::new(Handles {
            auth: start_sign_in(config, &db, &postgres, shutdown),
            names: start_copies(config, &db, &postgres, shutdown),
            submitter: Submitter::start(db.pool(), &postgres, &pusher, key_ttl, shutdown, &end_of_submits),
            batches: BatchLane::new(
                db.clone(),
                Arc::clone(&postgres),
                Arc::clone(&pusher),
                key_ttl,
                shutdown.clone(),
            ),
            dead_letters: BulkOperations::new(
                db.clone(),
                Arc::<Pusher>::clone(&pusher),
                key_ttl,
                shutdown.clone(),
            ),
            admission: Admission::new(Arc::clone(&postgres)),
            bodies: BodyBudgets::new(config.max_body_bytes),
            mode: config.mode,
            environment: config.environment,
            workflow_max_age: config.workflow_max_age,
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
            pusher,
            watcher,
            metrics,
        }))
    }

    /// Returns the handles that the maintenance duties use.
    pub fn duty_handles(&self) -> DutyHandles {
        let handles = &self.0;
        DutyHandles {
            db: handles.db.clone(),
            redis: handles.mode.uses_redis().then(|| Arc::clone(&handles.queue)),
            queues: handles.names.queues.declared(),
            hints: Arc::<Pusher>::clone(&handles.pusher),
            status: Arc::clone(&handles.duty_status),
        }
    }

    /// Stops the flushers of submits. To be called after the last request is answered, since requests wait
    /// for them.
    pub fn end_submits(&self) {
        self.0.end_of_submits.cancel();
    }
}

impl Handles {
    /// Returns Redis, or `None` in `PollingOnly`.
    fn redis_in_use(&self) -> Option<Arc<RedisHealth>> {
        self.mode.uses_redis().then(|| Arc::clone(&self.redis))
    }
}

/// Creates the copies of the task types and of the declared queues, and starts their refresh.
fn start_copies(
    config: &ServerConfig,
    db: &Db,
    postgres: &Arc<PostgresHealth>,
    shutdown: &Shutdown,
) -> KnownNames {
    let types = Arc::new(TypeCache::new(
        db.clone(),
        Arc::clone(postgres),
        config.worker_timeout,
    ));
    let queues = Arc::new(QueueTable::new(
        db.clone(),
        Arc::clone(postgres),
        config.queues.known.clone(),
    ));
    shutdown.spawn_named("task types", Arc::clone(&types).run(shutdown.soft().clone()));
    shutdown.spawn_named(
        "declared queues",
        Arc::clone(&queues).run(shutdown.soft().clone()),
    );
    KnownNames { types, queues }
}

/// Creates the sign-in and starts its upkeep.
fn start_sign_in(
    config: &ServerConfig,
    db: &Db,
    postgres: &Arc<PostgresHealth>,
    shutdown: &Shutdown,
) -> Arc<Auth> {
    let keys = Arc::new(ApiKeyCache::new(
        db.clone(),
        Arc::clone(postgres),
        shutdown.clone(),
    ));
    let auth = Arc::new(Auth::new(&config.sign_in, keys));
    shutdown.spawn_named(
        "sign-in upkeep",
        Arc::clone(&auth).upkeep(shutdown.soft().clone()),
    );
    auth
}
