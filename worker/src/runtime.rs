//! A running worker: its parts, and the order in which they start and stop.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tasker_shared::lifecycle::Shutdown;
use tasker_shared::queue::{self, Hint, RedisQueues, ServerCheck};
use tasker_shared::store::end_runs::Ended;
use tasker_shared::store::{self, ConnectionCache, PgPool, workers};
use tasker_shared::task::{QueueName, TaskStatus};
use tasker_shared::telemetry::Metrics;
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::dispatch::ClaimLoop;
use crate::ends::{Completer, FLUSHERS};
use crate::gate::{self, Gate, STATEMENT_MAX};
use crate::heartbeat::Heartbeat;
use crate::held::Held;
use crate::http::Status;
use crate::panics::Panics;
use crate::progress::Reports;
use crate::registry::{Registry, RegistryError};
use crate::serving::Paused;
use crate::task_log::TaskLog;
use crate::throughput::Throughput;
use crate::{WorkerConfig, cancel, http, liveness, start};

/// How long the last ends may take to be written when the worker stops.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Why a worker ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The registered task types do not go together.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database settings cannot be used.
    #[error("the database settings cannot be used")]
    Database(#[source] store::Error),
    /// The Redis settings cannot be used.
    #[error("the Redis settings cannot be used")]
    Redis(#[source] queue::Error),
    /// Postgres or Redis is one that Tasker cannot use; names the variable.
    #[error("{0}")]
    Unsupported(String),
    /// An address for health and metrics cannot be listened on.
    #[error("cannot listen on {0} for health and metrics")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// The thread of the heartbeats cannot be started.
    #[error("the thread of the heartbeats cannot be started")]
    Thread(#[source] std::io::Error),
    /// `TASK_QUEUES` names queues that are not declared.
    #[error("TASK_QUEUES: {}", .0.join("\n"))]
    UndeclaredQueues(Vec<String>),
    /// A part of the worker panicked.
    #[error("a part of the worker panicked; the log tells which")]
    Panicked,
    /// The fleet took this worker for dead; its tasks are others' now.
    #[error("this worker was declared dead")]
    DeclaredDead,
}

/// What the loops of a worker share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: WorkerConfig,
    pub(crate) worker_id: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) db: PgPool,
    /// Connections for claims and the ends of runs.
    pub(crate) kept: ConnectionCache,
    pub(crate) queue: Arc<RedisQueues>,
    pub(crate) shutdown: Shutdown,
    pub(crate) runs: TaskTracker,
    /// Cancelled when nothing more may be claimed.
    pub(crate) no_more_claims: CancellationToken,
    /// Cancelled when runs must end at once and go back.
    pub(crate) give_back: CancellationToken,
    /// Cancelled when no run can hand in its end any more.
    pub(crate) no_more_ends: CancellationToken,
    pub(crate) declared_dead: CancellationToken,
    pub(crate) completer: Completer,
    pub(crate) held: Held,
    /// Of the claims on their way, the one that may take a suspect.
    pub(crate) suspect_turn: Mutex<()>,
    /// Whether Postgres answers.
    pub(crate) gate: Gate,
    /// Whether Redis answers.
    pub(crate) redis: Gate,
    /// Whether it is one that can be used.
    pub(crate) redis_check: ServerCheck,
    pub(crate) paused: Paused,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) throughput: Throughput,
    pub(crate) reports: Reports,
    pub(crate) task_log: TaskLog,
    pub(crate) panics: Panics,
    pub(crate) status: Status,
}

impl Parts {
    /// Notes that the fleet takes this worker for dead: nothing that it writes counts any more.
    pub(crate) fn declared_dead(&self) {
        if !self.declared_dead.is_cancelled() {
            counter!("tasker_declared_dead_total").increment(1);
            error!("this worker was declared dead; it drops its runs");
        }
        self.declared_dead.cancel();
        self.give_back.cancel();
        self.shutdown.soft().cancel();
    }

    /// Puts hints on the heads of their lists.
    pub(crate) async fn put_back(&self, hints: &[Hint]) {
        if !self.config.mode.uses_redis() || hints.is_empty() {
            return;
        }
        if !self.redis.is_open() {
            return counter!("tasker_pushes_skipped_total").increment(hints.len() as u64);
        }
        if let Err(error) = self.queue.push_front(hints).await {
            counter!("tasker_push_failures_total").increment(hints.len() as u64);
            warn!(%error, hints = hints.len(), "hints could not be put back; the net finds their tasks");
        }
    }

    /// Puts back the hints of those whose runs ended and that wait again.
    pub(crate) async fn put_back_pending(&self, ended: Vec<Ended>) {
        let pending = ended
            .into_iter()
            .filter(|ended| ended.status == TaskStatus::Pending);
        let hint = |ended: Ended| Hint::new(ended.id, ended.queue, ended.task_name);
        let hints: Vec<Hint> = pending.map(hint).collect();
        self.put_back(&hints).await;
    }

    fn queues(&self) -> Vec<QueueName> {
        queues(&self.config)
    }
}

/// The queues of a worker, first ones first.
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
    let (completer, ends) = Completer::new(config.pool_size as usize);
    let parts = Arc::new(Parts {
        no_more_claims: shutdown.soft().child_token(),
        worker_id,
        registry,
        kept: ConnectionCache::new(db.clone()),
        db,
        queue,
        shutdown,
        runs: TaskTracker::new(),
        give_back: CancellationToken::new(),
        no_more_ends: CancellationToken::new(),
        declared_dead: CancellationToken::new(),
        completer,
        held: Held::default(),
        suspect_turn: Mutex::new(()),
        gate: Gate::of_postgres(config.breaker),
        redis: Gate::of_redis(config.breaker),
        redis_check: ServerCheck::default(),
        paused: Paused::default(),
        heartbeat: Heartbeat::default(),
        throughput: Throughput::new(queues(&config)),
        reports: Reports::default(),
        task_log: TaskLog::new(config.task_log),
        panics,
        status: Status::new(&config, metrics),
        config,
    });
    let dropped = DropGuards::of(&parts);
    http::serve(&parts).await?;
    if let Some(key) = start::register(&parts).await? {
        info!(worker_id = %parts.worker_id, "the worker is registered and drains its queues");
        let loops = claim_loops(&parts).map_err(RunError::Redis)?;
        for _ in 0..FLUSHERS {
            parts
                .shutdown
                .spawn_named("completer", Arc::clone(&ends).flush(Arc::clone(&parts)));
        }
        liveness::start(&parts, key).map_err(RunError::Thread)?;
        spawn_duties(&parts);
        let claiming = TaskTracker::new();
        for claim_loop in loops {
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
    parts.no_more_ends.cancel();
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

/// Ends everything at once when whoever runs the worker drops it, as a kill would: its tasks come back by recovery. Only the
/// thread of a blocking handler cannot be ended; it sees that it is cancelled.
struct DropGuards([DropGuard; 4]);

impl DropGuards {
    fn of(parts: &Parts) -> Self {
        let tokens = [
            parts.shutdown.soft(),
            parts.shutdown.hard(),
            &parts.give_back,
            &parts.no_more_ends,
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
        shutdown.spawn_named("redis watch", gate::watch_redis(Arc::clone(parts)));
        let checked = Arc::clone(parts);
        shutdown.spawn_named("redis check", async move {
            checked
                .redis_check
                .keep(&checked.queue, checked.shutdown.soft())
                .await;
        });
    }
    shutdown.spawn_named("cancellation look", cancel::look(Arc::clone(parts)));
    shutdown.spawn_named("stops", pass_on_stops(Arc::clone(parts)));
    let reports = parts.reports.clone();
    shutdown.spawn_named(
        "progress writer",
        reports.write(
            parts.db.clone(),
            Arc::clone(&parts.worker_id),
            parts.no_more_ends.clone(),
        ),
    );
    let logged = Arc::clone(parts);
    shutdown.spawn_named("task log", async move {
        logged.task_log.report(&logged.no_more_ends).await;
    });
    let watched = Arc::clone(parts);
    shutdown.spawn_named("pause look", async move {
        watched.paused.watch(&watched.db, watched.shutdown.soft()).await;
    });
}

/// Waits until the worker becomes quiet or stops, then: claim no more, wait for the soft stop, let runs end, release those that
/// do not in time, write all completions, leave.
async fn stop(parts: &Parts, claiming: &TaskTracker) {
    parts.no_more_claims.cancelled().await;
    claiming.wait().await;
    let drain = workers::drain(&parts.db, &parts.worker_id);
    if let Err(error) = store::bounded(STATEMENT_MAX, drain).await {
        warn!(%error, "could not record that this worker drains");
    }
    parts.shutdown.soft().cancelled().await;
    info!(
        runs = parts.held.len(),
        "claiming has stopped; waiting for runs to end"
    );
    parts.runs.close();
    tokio::select! {
        biased;
        () = parts.runs.wait() => {}
        () = parts.give_back.cancelled() => {}
        () = tokio::time::sleep(parts.config.shutdown_timeout) => {
            warn!(runs = parts.held.len(), "releasing runs that did not end within SHUTDOWN_TIMEOUT");
        }
    }
    parts.give_back.cancel();
    let written = async {
        parts.runs.wait().await;
        parts.held.until(false).await;
    };
    if tokio::time::timeout(LAST_WRITES, written).await.is_err() {
        warn!(
            runs = parts.held.len(),
            "the last completions could not be written; recovery requeues their tasks"
        );
    }
    // before the row goes: a heartbeat that does not find it would take it for a death
    parts.no_more_ends.cancel();
    let leave = workers::leave(&parts.db, &parts.worker_id);
    if let Err(error) = store::bounded(STATEMENT_MAX, leave).await {
        warn!(%error, "could not take this worker off the list");
    }
}

/// Passes the stops of the process on to this worker: quiet ends its claims, urgent its runs.
async fn pass_on_stops(parts: Arc<Parts>) {
    tokio::select! {
        biased;
        () = parts.no_more_ends.cancelled() => return,
        () = parts.shutdown.quiet().cancelled() => parts.no_more_claims.cancel(),
    }
    tokio::select! {
        biased;
        () = parts.no_more_ends.cancelled() => {}
        () = parts.shutdown.urgent().cancelled() => parts.give_back.cancel(),
    }
}
