//! A running worker: its parts, and the order in which they start and stop.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tasker_core::task::{QueueName, TaskStatus};
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::Metrics;
use tasker_queue::{self as queue, Hint, RedisQueues, ServerCheck};
use tasker_store::end_runs::Ended;
use tasker_store::{self as store, ConnectionCache, PgPool, workers};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::availability::{self, Availability, STATEMENT_MAX};
use crate::completions::{Completer, FLUSHERS};
use crate::dispatch::ClaimLoop;
use crate::heartbeat::Heartbeat;
use crate::http::Status;
use crate::in_flight::InFlight;
use crate::panics::Panics;
use crate::progress::Reports;
use crate::queue_counters::QueueCounters;
use crate::registry::{Registry, RegistryError};
use crate::serving::Paused;
use crate::task_log::TaskLog;
use crate::{WorkerConfig, cancel, http, liveness, start};

/// Time limit for the last completions when the worker stops.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// An error that ends a worker.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task type is invalid or registered twice, or there is none.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database settings cannot be used.
    #[error("the database settings cannot be used")]
    Database(#[source] store::Error),
    /// The Redis settings cannot be used.
    #[error("the Redis settings cannot be used")]
    Redis(#[source] queue::Error),
    /// The version or setup of Postgres or Redis is not supported; the text names the variable.
    #[error("{0}")]
    Unsupported(String),
    /// The listener for health and metrics failed.
    #[error("cannot listen on {0} for health and metrics")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// The heartbeat thread cannot be started.
    #[error("cannot start the heartbeat thread")]
    Thread(#[source] std::io::Error),
    /// `TASK_QUEUES` names queues that are not declared.
    #[error("TASK_QUEUES: {}", .0.join("\n"))]
    UndeclaredQueues(Vec<String>),
    /// A background task of the worker panicked.
    #[error("a background task of the worker panicked; the log names it")]
    Panicked,
    /// The leader declared this worker dead and requeued its tasks.
    #[error("this worker was declared dead")]
    DeclaredDead,
}

/// The state that the loops of a worker share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: WorkerConfig,
    pub(crate) worker_id: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) db: PgPool,
    /// Connections for claims and completions.
    pub(crate) kept: ConnectionCache,
    pub(crate) queue: Arc<RedisQueues>,
    pub(crate) shutdown: Shutdown,
    pub(crate) runs: TaskTracker,
    /// Cancelled when the worker may claim no more.
    pub(crate) no_more_claims: CancellationToken,
    /// Cancelled when the remaining runs must end at once and are requeued.
    pub(crate) release_runs: CancellationToken,
    /// Cancelled when no run can hand in a completion any more.
    pub(crate) no_more_completions: CancellationToken,
    pub(crate) declared_dead: CancellationToken,
    pub(crate) completer: Completer,
    pub(crate) in_flight: InFlight,
    /// Held by the one pending claim that may take a suspect.
    pub(crate) suspect_turn: Mutex<()>,
    /// The availability of Postgres.
    pub(crate) postgres: Availability,
    /// The availability of Redis.
    pub(crate) redis: Availability,
    /// The check of the version and settings of Redis.
    pub(crate) redis_check: ServerCheck,
    pub(crate) paused: Paused,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) queue_counters: QueueCounters,
    pub(crate) reports: Reports,
    pub(crate) task_log: TaskLog,
    pub(crate) panics: Panics,
    pub(crate) status: Status,
}

impl Parts {
    /// Stops the worker after it was declared dead: its tasks were requeued, and its writes are fenced.
    pub(crate) fn declared_dead(&self) {
        if !self.declared_dead.is_cancelled() {
            counter!("tasker_declared_dead_total").increment(1);
            error!("declared dead; dropping all runs");
        }
        // before the stop, after which `run` reads it
        self.declared_dead.cancel();
        self.release_runs.cancel();
        self.shutdown.soft().cancel();
    }

    /// Pushes hints to the heads of their lists.
    pub(crate) async fn return_hints(&self, hints: &[Hint]) {
        if !self.config.mode.uses_redis() || hints.is_empty() {
            return;
        }
        if !self.redis.is_available() {
            return counter!("tasker_pushes_skipped_total").increment(hints.len() as u64);
        }
        if let Err(error) = self.queue.push_front(hints).await {
            counter!("tasker_push_failures_total").increment(hints.len() as u64);
            warn!(%error, hints = hints.len(), "failed to push hints again; fallback polls find their tasks");
        }
    }

    /// Pushes the hints of the ended runs whose tasks are pending again.
    pub(crate) async fn return_pending_hints(&self, ended: Vec<Ended>) {
        let pending = ended
            .into_iter()
            .filter(|ended| ended.status == TaskStatus::Pending);
        let hint = |ended: Ended| Hint::new(ended.id, ended.queue, ended.task_name);
        let hints: Vec<Hint> = pending.map(hint).collect();
        self.return_hints(&hints).await;
    }

    fn queues(&self) -> Vec<QueueName> {
        queues(&self.config)
    }
}

/// Returns the queues of a worker in order of priority.
fn queues(config: &WorkerConfig) -> Vec<QueueName> {
    let queues = config.task_queues.iter();
    queues.map(|slots| slots.queue.clone()).collect()
}

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
    let (completer, completions) = Completer::new(config.pool_size as usize);
    let parts = Arc::new(Parts {
        no_more_claims: shutdown.soft().child_token(),
        worker_id,
        registry,
        kept: ConnectionCache::new(db.clone()),
        db,
        queue,
        shutdown,
        runs: TaskTracker::new(),
        release_runs: CancellationToken::new(),
        no_more_completions: CancellationToken::new(),
        declared_dead: CancellationToken::new(),
        completer,
        in_flight: InFlight::default(),
        suspect_turn: Mutex::new(()),
        postgres: Availability::of_postgres(config.breaker),
        redis: Availability::of_redis(config.breaker),
        redis_check: ServerCheck::default(),
        paused: Paused::default(),
        heartbeat: Heartbeat::default(),
        queue_counters: QueueCounters::new(queues(&config)),
        reports: Reports::default(),
        task_log: TaskLog::new(config.task_log),
        panics,
        status: Status::new(&config, metrics),
        config,
    });
    let dropped = DropGuards::of(&parts);
    // before registration: while the worker waits for Postgres, probes see it as live and not ready
    http::serve(&parts).await?;
    if let Some(key) = start::register(&parts).await? {
        info!(worker_id = %parts.worker_id, "registered; claiming from the queues");
        let loops = claim_loops(&parts).map_err(RunError::Redis)?;
        for _ in 0..FLUSHERS {
            parts
                .shutdown
                .spawn_named("completer", Arc::clone(&completions).flush(Arc::clone(&parts)));
        }
        liveness::start(&parts, key).map_err(RunError::Thread)?;
        spawn_duties(&parts);
        let claiming = TaskTracker::new();
        for claim_loop in loops {
            // twice: `shutdown` logs a panic and stops the worker, `claiming` waits for the claim loops alone
            let watched = Arc::clone(&parts);
            claiming.spawn(async move {
                watched
                    .shutdown
                    .spawn_named("claim loop", claim_loop.run())
                    .await
                    .ok();
            });
        }
        claiming.close();
        stop(&parts, &claiming).await;
    }
    // `stop` has done so, except for a worker that was stopped before it registered
    parts.no_more_completions.cancel();
    parts.shutdown.drained().await;
    dropped.disarm();
    if parts.shutdown.panicked() {
        return Err(RunError::Panicked);
    }
    if parts.declared_dead.is_cancelled() {
        Err(RunError::DeclaredDead)
    } else {
        Ok(())
    }
}

/// The guards that stop everything at once, as a crash would, when the future of the worker is dropped;
/// recovery requeues its tasks. The thread of a blocking handler cannot be stopped from outside; its run is
/// cancelled.
struct DropGuards([DropGuard; 4]);

impl DropGuards {
    fn of(parts: &Parts) -> Self {
        let tokens = [
            parts.shutdown.soft(),
            parts.shutdown.hard(),
            &parts.release_runs,
            &parts.no_more_completions,
        ];
        Self(tokens.map(|token| token.clone().drop_guard()))
    }

    fn disarm(self) {
        for guard in self.0 {
            guard.disarm();
        }
    }
}

fn claim_loops(parts: &Arc<Parts>) -> Result<Vec<ClaimLoop>, queue::Error> {
    let slots = &parts.config.task_queues;
    let reserved: u32 = slots.iter().map(|slots| slots.reserved).sum();
    let shared = parts.config.pool_size.saturating_sub(reserved);
    let mut loops = Vec::new();
    if shared > 0 {
        loops.push(ClaimLoop::new(
            Arc::clone(parts),
            parts.queues(),
            shared as usize,
        )?);
    }
    for slots in slots.iter().filter(|slots| slots.reserved > 0) {
        loops.push(ClaimLoop::new(
            Arc::clone(parts),
            vec![slots.queue.clone()],
            slots.reserved as usize,
        )?);
    }
    Ok(loops)
}

fn spawn_duties(parts: &Arc<Parts>) {
    let shutdown = &parts.shutdown;
    if parts.config.mode.uses_redis() {
        shutdown.spawn_named("cancellation listener", cancel::listen(Arc::clone(parts)));
        shutdown.spawn_named("redis probe", availability::probe_redis(Arc::clone(parts)));
        let checked = Arc::clone(parts);
        shutdown.spawn_named("redis check", async move {
            checked
                .redis_check
                .keep(&checked.queue, checked.shutdown.soft())
                .await;
        });
    }
    shutdown.spawn_named("cancellation poll", cancel::poll(Arc::clone(parts)));
    shutdown.spawn_named("stops", pass_on_stops(Arc::clone(parts)));
    let reports = parts.reports.clone();
    shutdown.spawn_named(
        "progress writer",
        reports.write(
            parts.db.clone(),
            Arc::clone(&parts.worker_id),
            parts.no_more_completions.clone(),
        ),
    );
    let logged = Arc::clone(parts);
    shutdown.spawn_named("task log", async move {
        logged.task_log.report(&logged.no_more_completions).await;
    });
    let watched = Arc::clone(parts);
    shutdown.spawn_named("pause check", async move {
        watched.paused.watch(&watched.db, watched.shutdown.soft()).await;
    });
}

/// Waits until the worker becomes quiet or stops, then shuts it down in this order: stop claiming, wait for
/// the soft stop, let runs finish, release those that do not finish in time, write all completions, remove
/// the worker's row.
async fn stop(parts: &Parts, claiming: &TaskTracker) {
    parts.no_more_claims.cancelled().await;
    // first: a pending claim may still start runs, which the steps below wait for
    claiming.wait().await;
    let drain = workers::drain(&parts.db, &parts.worker_id);
    if let Err(error) = store::bounded(STATEMENT_MAX, drain).await {
        warn!(%error, "failed to record that this worker is draining");
    }
    parts.shutdown.soft().cancelled().await;
    info!(
        runs = parts.in_flight.len(),
        "claiming has stopped; waiting for runs to finish"
    );
    // no new runs can come: the claim loops have ended
    parts.runs.close();
    tokio::select! {
        biased;
        () = parts.runs.wait() => {}
        () = parts.release_runs.cancelled() => {}
        () = tokio::time::sleep(parts.config.shutdown_timeout) => {
            warn!(runs = parts.in_flight.len(), "releasing runs that did not finish within SHUTDOWN_TIMEOUT");
        }
    }
    parts.release_runs.cancel();
    // a run ends when its completion is handed in; it leaves the in-flight runs when that is written
    let written = async {
        parts.runs.wait().await;
        parts.in_flight.until(false).await;
    };
    if tokio::time::timeout(LAST_WRITES, written).await.is_err() {
        warn!(
            runs = parts.in_flight.len(),
            "failed to write the last completions; recovery requeues their tasks"
        );
    }
    // before the row is deleted: a heartbeat that does not find it would report this worker as declared dead
    parts.no_more_completions.cancel();
    let leave = workers::leave(&parts.db, &parts.worker_id);
    if let Err(error) = store::bounded(STATEMENT_MAX, leave).await {
        warn!(%error, "failed to remove this worker's row");
    }
}

/// Applies the process's shutdown levels to this worker: quiet stops its claims, urgent releases its runs.
async fn pass_on_stops(parts: Arc<Parts>) {
    tokio::select! {
        biased;
        () = parts.no_more_completions.cancelled() => return,
        () = parts.shutdown.quiet().cancelled() => parts.no_more_claims.cancel(),
    }
    tokio::select! {
        biased;
        () = parts.no_more_completions.cancelled() => {}
        () = parts.shutdown.urgent().cancelled() => parts.release_runs.cancel(),
    }
}
