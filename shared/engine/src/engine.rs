//! The loops of a worker: their parts, and the order in which they start and stop.

use std::sync::Arc;
use std::time::Duration;

use tasker_platform::lifecycle::Shutdown;
use tasker_queue::{self as queue, RedisQueues, ServerCheck};
use tasker_store::liveness::LivenessKey;
use tasker_store::{self as store, ConnectionCache, PgPool, workers};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::activity::Activity;
use crate::availability::Availability;
use crate::claims::ClaimParts;
use crate::completion_writer::CompletionWriter;
use crate::completions::{Completer, Completions, FLUSHERS};
use crate::dispatch::ClaimLoop;
use crate::execute::Executor;
use crate::heartbeat::{Beats, Sharing};
use crate::hints::{Hints, Redis};
use crate::in_flight::InFlight;
use crate::monitor::Monitor;
use crate::progress::Reports;
use crate::queue_counters::QueueCounters;
use crate::readiness::Readiness;
use crate::runner::Runner;
use crate::serving::Paused;
use crate::settings::Settings;
use crate::statement_limit::STATEMENT_MAX;
use crate::statements::Statements;
use crate::stops::Stops;
use crate::task_log::TaskLog;
use crate::{cancel, liveness, redis_probe};

/// Time limit for the last completions when the worker stops.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// An error that ends the loops at their start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The Redis settings cannot be used.
    #[error("the Redis settings cannot be used")]
    Redis(#[source] queue::Error),
    /// The heartbeat thread cannot be started.
    #[error("cannot start the heartbeat thread")]
    Thread(#[source] std::io::Error),
}

/// Claims tasks and has a [`Runner`] run them. It holds all parts and hands each loop those that it needs.
pub struct Engine<R> {
    settings: Arc<Settings>,
    stops: Stops,
    db: PgPool,
    /// Connections for claims and completions.
    connections: Arc<ConnectionCache>,
    redis: Redis,
    redis_check: Arc<ServerCheck>,
    readiness: Readiness,
    hints: Hints,
    in_flight: Arc<InFlight>,
    sharing: Arc<Sharing>,
    executor: Arc<Executor<R>>,
    completions: Arc<Completions>,
}

impl<R: Runner> Engine<R> {
    /// Creates the parts of a worker that has not started.
    pub fn new(
        settings: Settings,
        db: PgPool,
        queue: Arc<RedisQueues>,
        runner: R,
        shutdown: Shutdown,
    ) -> Self {
        let readiness = Readiness {
            postgres: Arc::new(Availability::of_postgres(settings.breaker)),
            redis: Arc::new(Availability::of_redis(settings.breaker)),
            paused: Arc::new(Paused::default()),
            activity: Arc::new(Activity::default()),
        };
        let redis = Redis {
            queue,
            availability: Arc::clone(&readiness.redis),
        };
        let stops = Stops::new(shutdown);
        let in_flight = Arc::new(InFlight::default());
        let (completer, completions) = Completer::new(settings.pool_size as usize);
        let connections = Arc::new(ConnectionCache::new(db.clone()));
        let executor = Executor {
            connections: Arc::clone(&connections),
            runner,
            stops: stops.clone(),
            runs: TaskTracker::new(),
            in_flight: Arc::clone(&in_flight),
            completer,
            reports: Reports::default(),
            task_log: Arc::new(TaskLog::new(settings.task_log)),
            queue_counters: Arc::new(QueueCounters::new(settings.queue_names())),
        };
        Self {
            stops,
            connections,
            db,
            hints: Hints::new(redis.clone(), settings.mode.uses_redis()),
            redis,
            redis_check: Arc::new(ServerCheck::default()),
            readiness,
            in_flight,
            sharing: Arc::new(Sharing::default()),
            executor: Arc::new(executor),
            completions,
            settings: Arc::new(settings),
        }
    }

    /// Returns the stops of this worker.
    pub fn stops(&self) -> &Stops {
        &self.stops
    }

    /// Returns a reader of the state of this worker.
    pub fn monitor(&self) -> Monitor {
        Monitor {
            settings: Arc::clone(&self.settings),
            stops: self.stops.clone(),
            readiness: self.readiness.clone(),
            redis_check: Arc::clone(&self.redis_check),
            in_flight: Arc::clone(&self.in_flight),
            runs: self.executor.runs.clone(),
        }
    }

    /// Starts the loops of a worker that was registered with `key`, and returns when it has stopped and its
    /// row is removed. Its background tasks may still be ending.
    pub async fn run(&self, key: LivenessKey) -> Result<(), EngineError> {
        let loops = self.claim_loops().map_err(EngineError::Redis)?;
        self.spawn_flushers();
        liveness::start(self.beats(), self.db.clone(), key).map_err(EngineError::Thread)?;
        if self.settings.mode.uses_redis() {
            self.spawn_redis_duties();
        }
        self.spawn_duties();
        let claiming = TaskTracker::new();
        for claim_loop in loops {
            // twice: `shutdown` logs a panic and stops the worker, `claiming` waits for the claim loops alone
            let shutdown = self.stops.shutdown.clone();
            claiming.spawn(async move {
                shutdown.spawn_named("claim loop", claim_loop.run()).await.ok();
            });
        }
        claiming.close();
        self.stop(&claiming).await;
        Ok(())
    }

    fn claim_loops(&self) -> Result<Vec<ClaimLoop<R>>, queue::Error> {
        let parts = Arc::new(ClaimParts {
            settings: Arc::clone(&self.settings),
            stops: self.stops.clone(),
            connections: Arc::clone(&self.connections),
            readiness: self.readiness.clone(),
            hints: self.hints.clone(),
            in_flight: Arc::clone(&self.in_flight),
            executor: Arc::clone(&self.executor),
        });
        let queues = &self.settings.queues;
        let reserved: u32 = queues.iter().map(|served| served.reserved).sum();
        let shared = self.settings.pool_size.saturating_sub(reserved);
        let mut loops = Vec::new();
        if shared > 0 {
            let all = self.settings.queue_names();
            loops.push(ClaimLoop::new(&parts, &self.sharing, all, shared as usize)?);
        }
        for served in queues.iter().filter(|served| served.reserved > 0) {
            let one = vec![served.queue.clone()];
            let slots = served.reserved as usize;
            loops.push(ClaimLoop::new(&parts, &self.sharing, one, slots)?);
        }
        Ok(loops)
    }

    fn spawn_flushers(&self) {
        let writer = Arc::new(CompletionWriter {
            statements: Statements {
                worker_id: Arc::clone(&self.settings.worker_id),
                connections: Arc::clone(&self.connections),
                postgres: Arc::clone(&self.readiness.postgres),
                hard_stop: self.stops.shutdown.hard().clone(),
            },
            in_flight: Arc::clone(&self.in_flight),
            hints: self.hints.clone(),
            queue_counters: Arc::clone(&self.executor.queue_counters),
            task_log: Arc::clone(&self.executor.task_log),
        });
        for _ in 0..FLUSHERS {
            let stop = self.stops.no_more_completions.clone();
            let flush = Arc::clone(&self.completions).flush(Arc::clone(&writer), stop);
            self.stops.shutdown.spawn_named("completer", flush);
        }
    }

    fn beats(&self) -> Beats {
        Beats {
            settings: Arc::clone(&self.settings),
            stops: self.stops.clone(),
            postgres: Arc::clone(&self.readiness.postgres),
            in_flight: Arc::clone(&self.in_flight),
            hints: self.hints.clone(),
            queue_counters: Arc::clone(&self.executor.queue_counters),
            sharing: Arc::clone(&self.sharing),
        }
    }

    fn spawn_redis_duties(&self) {
        let shutdown = &self.stops.shutdown;
        let listener = cancel::Listener {
            queue: Arc::clone(&self.redis.queue),
            in_flight: Arc::clone(&self.in_flight),
            stop: self.stops.no_more_completions.clone(),
        };
        shutdown.spawn_named("cancellation listener", cancel::listen(listener));
        let (check, stop) = (Arc::clone(&self.redis_check), shutdown.soft().clone());
        let probe = redis_probe::probe(self.redis.clone(), check, stop);
        shutdown.spawn_named("redis probe", probe);
        let (check, stop) = (Arc::clone(&self.redis_check), shutdown.soft().clone());
        let queue = Arc::clone(&self.redis.queue);
        shutdown.spawn_named("redis check", async move { check.keep(&queue, &stop).await });
    }

    fn spawn_duties(&self) {
        let shutdown = &self.stops.shutdown;
        let poller = cancel::Poller {
            db: self.db.clone(),
            worker_id: Arc::clone(&self.settings.worker_id),
            postgres: Arc::clone(&self.readiness.postgres),
            in_flight: Arc::clone(&self.in_flight),
            stop: self.stops.no_more_completions.clone(),
        };
        shutdown.spawn_named("cancellation poll", cancel::poll(poller));
        shutdown.spawn_named("stops", self.stops.clone().pass_on());
        let write = self.executor.reports.clone().write(
            self.db.clone(),
            Arc::clone(&self.settings.worker_id),
            self.stops.no_more_completions.clone(),
        );
        shutdown.spawn_named("progress writer", write);
        let task_log = Arc::clone(&self.executor.task_log);
        let stop = self.stops.no_more_completions.clone();
        shutdown.spawn_named("task log", async move { task_log.report(&stop).await });
        let (paused, db) = (Arc::clone(&self.readiness.paused), self.db.clone());
        let stop = shutdown.soft().clone();
        shutdown.spawn_named("pause check", async move { paused.watch(&db, &stop).await });
    }

    /// Waits until the worker becomes quiet or stops, then shuts it down in this order: stop claiming, wait
    /// for the soft stop, let runs finish, release those that do not finish in time, write all completions,
    /// remove the worker's row.
    async fn stop(&self, claiming: &TaskTracker) {
        let (stops, runs) = (&self.stops, &self.executor.runs);
        stops.no_more_claims.cancelled().await;
        // first: a pending claim may still start runs, which the steps below wait for
        claiming.wait().await;
        let drain = workers::drain(&self.db, &self.settings.worker_id);
        if let Err(error) = store::bounded(STATEMENT_MAX, drain).await {
            warn!(%error, "failed to record that this worker is draining");
        }
        stops.shutdown.soft().cancelled().await;
        info!(
            runs = self.in_flight.len(),
            "claiming has stopped; waiting for runs to finish"
        );
        // no new runs can come: the claim loops have ended
        runs.close();
        tokio::select! {
            biased;
            () = runs.wait() => {}
            () = stops.release_runs.cancelled() => {}
            () = tokio::time::sleep(self.settings.shutdown_timeout) => {
                warn!(runs = self.in_flight.len(), "releasing runs that did not finish within SHUTDOWN_TIMEOUT");
            }
        }
        stops.release_runs.cancel();
        // a run ends when its completion is handed in; it leaves the in-flight runs when that is written
        let written = async {
            runs.wait().await;
            self.in_flight.until(false).await;
        };
        if tokio::time::timeout(LAST_WRITES, written).await.is_err() {
            warn!(
                runs = self.in_flight.len(),
                "failed to write the last completions; recovery requeues their tasks"
            );
        }
        // before the row is deleted: a heartbeat that does not find it would report this worker as declared
        // dead
        stops.no_more_completions.cancel();
        let leave = workers::leave(&self.db, &self.settings.worker_id);
        if let Err(error) = store::bounded(STATEMENT_MAX, leave).await {
            warn!(%error, "failed to remove this worker's row");
        }
    }
}
