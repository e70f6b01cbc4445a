//! The parts of the state that handlers take where they need more than one handle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_config::Environment;
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::Metrics;
use tasker_queue::RedisQueues;

use crate::auth::Auth;
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
use crate::watcher::Watcher;
use tasker_maintenance::DutyStatus;
use tasker_store::DeclaredQueues;

/// The validation and the group commit of single submits.
#[derive(Debug, Clone)]
pub struct Submits {
    /// The registered task types and the declared queues.
    pub names: KnownNames,
    /// The group commit.
    pub submitter: Submitter,
}

/// The validation and the write path of batches.
#[derive(Debug, Clone)]
pub struct BatchSubmits {
    /// The registered task types and the declared queues.
    pub names: KnownNames,
    /// The rate limits, which count the tasks of a batch.
    pub auth: Arc<Auth>,
    /// The write path.
    pub lane: BatchLane,
    /// The maximum size of one task, in bytes.
    pub task_bytes_max: usize,
}

/// The record of one task, and the wait for its end.
#[derive(Debug, Clone)]
pub struct TaskReads {
    /// Postgres.
    pub db: Db,
    /// Wakes requests that wait for tasks to finish.
    pub watcher: Arc<Watcher>,
    /// The shutdown, which ends the waits.
    pub shutdown: Shutdown,
}

/// The validation and the write path of workflows.
#[derive(Debug, Clone)]
pub struct WorkflowStarts {
    /// Postgres.
    pub db: Db,
    /// The registered task types and the declared queues.
    pub names: KnownNames,
    /// Pushes wake-up hints.
    pub pusher: Arc<Pusher>,
    /// The name of the environment, which selects the changes of a definition.
    pub environment: Environment,
    /// The deadline of workflows that set none.
    pub max_age: Duration,
    /// The minimum lifetime of an idempotency key.
    pub key_ttl: Duration,
}

/// The records of workflows, and the wait for their end.
#[derive(Debug, Clone)]
pub struct WorkflowReads {
    /// Postgres.
    pub db: Db,
    /// The shutdown, which ends the waits.
    pub shutdown: Shutdown,
}

/// The cancellation and the retry of one task.
#[derive(Debug, Clone)]
pub struct TaskActions {
    /// Postgres.
    pub db: Db,
    /// Pushes and removes wake-up hints.
    pub pusher: Arc<Pusher>,
    /// Publishes cancellations; `None` in `PollingOnly`.
    pub redis: Option<Arc<RedisHealth>>,
    /// The minimum lifetime of an idempotency key.
    pub key_ttl: Duration,
}

/// The workers and what they register.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Postgres.
    pub db: Db,
    /// The age of the last heartbeat from which a worker does not count as live.
    pub worker_timeout: Duration,
}

/// The declared queues, their rows and their lists.
#[derive(Debug, Clone)]
pub struct QueueControl {
    /// Postgres.
    pub db: Db,
    /// The declared queues.
    pub table: Arc<QueueTable>,
    /// The lists of the queues in Redis.
    pub lists: Arc<RedisQueues>,
    /// Reads the lengths of the lists; `None` in `PollingOnly`.
    pub redis: Option<Arc<RedisHealth>>,
    /// The age of the last heartbeat from which a worker does not count as live.
    pub worker_timeout: Duration,
}

/// The state of this server and of its dependencies.
#[derive(Debug, Clone)]
pub struct HealthChecks {
    /// Postgres.
    pub db: Db,
    /// The availability of Postgres.
    pub postgres: Arc<PostgresHealth>,
    /// The availability of Redis; `None` in `PollingOnly`.
    pub redis: Option<Arc<RedisHealth>>,
    /// The shutdown, during which a server is not ready.
    pub shutdown: Shutdown,
    /// The start time of this server.
    pub started: Instant,
}

/// The state of the maintenance duties.
#[derive(Debug, Clone)]
pub struct Duties {
    /// The last runs of the duties of this server.
    pub status: Arc<DutyStatus>,
    /// The declared queues.
    pub queues: DeclaredQueues,
    /// The age of the last heartbeat from which a worker does not count as live.
    pub worker_timeout: Duration,
}

/// The metrics, and the sources of the gauges that are read at a scrape.
#[derive(Debug, Clone)]
pub struct MetricSources {
    /// The metrics of this process.
    pub metrics: Metrics,
    /// The connection pool.
    pub db: Db,
    /// The circuit breaker of Postgres.
    pub postgres: Arc<PostgresHealth>,
    /// The circuit breaker of Redis.
    pub redis: Arc<RedisHealth>,
    /// The tasks that wait for a flush.
    pub submitter: Submitter,
    /// The memory of bodies.
    pub bodies: BodyBudgets,
    /// The requests in progress.
    pub admission: Admission,
}
