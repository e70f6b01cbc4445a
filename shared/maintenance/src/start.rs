//! The list of the duties, and their start.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tasker_core::task::TaskId;
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::hostname;
use tasker_queue::RedisQueues;
use tasker_store::{DeclaredQueues, ObservedPool};
use tokio_util::sync::CancellationToken;

use crate::duty::drive;
use crate::{
    Ager, Cleaner, DeadLetterExpirer, Duty, DutyStatus, GaugeKeeper, HintSender, Leadership,
    PartitionDropper, PartitionKeeper, Promoter, QueueSources, Rebuilder, Reconciler, Recoverer, Router,
    Sampler, StepIndexer, TotalsFolder, WorkflowKeeper,
};

/// The parts of a server that the duties use.
#[derive(Debug, Clone)]
pub struct Handles {
    /// Postgres.
    pub db: ObservedPool,
    /// Redis; `None` in `PollingOnly`.
    pub redis: Option<Arc<RedisQueues>>,
    /// The declared queues.
    pub queues: DeclaredQueues,
    /// The sender of hints.
    pub hints: Arc<dyn HintSender>,
    /// The status that the duties report to.
    pub status: Arc<DutyStatus>,
}

/// The settings of the duties.
#[derive(Debug, Clone)]
pub struct Settings {
    /// True for the only server, which takes the lease at start.
    pub alone: bool,
    /// Duration of the leader's lease without renewal.
    pub leader_term: Duration,
    /// Time without a heartbeat after which a worker does not count as live.
    pub worker_timeout: Duration,
    /// Time between cleanups.
    pub cleanup_interval: Duration,
    /// Minimum time that an idempotency key holds.
    pub key_ttl: Duration,
    /// Whole days that finished tasks and the history are kept; `None` keeps them forever.
    pub retention_days: Option<u32>,
    /// Days that dead letters are kept; `None` keeps them forever.
    pub dead_letter_retention_days: Option<u32>,
    /// Time after which a waiting task is starved; `None` turns priority aging off.
    pub age_limit: Option<Duration>,
}

/// Starts all duties as background tasks.
pub fn start(handles: Handles, settings: Settings, shutdown: &Shutdown) {
    let promoter = Promoter::new(handles.db.clone(), Arc::clone(&handles.hints));
    start_own(promoter, &handles, shutdown);
    start_own(PartitionKeeper::new(handles.db.clone()), &handles, shutdown);

    let holder = format!(
        "server-{}-{}-{}",
        hostname(),
        std::process::id(),
        TaskId::generate()
    );
    let mut leadership = Leadership::new(handles.db.clone(), holder, settings.leader_term)
        .reporting_to(Arc::clone(&handles.status));
    // a single server is its own predecessor, and need not wait for the old lease to expire after a crash
    if settings.alone {
        leadership = leadership.alone();
    }
    // creates all duties for each term: another server may have led since the last one, so earlier state is
    // out of date
    let duties = move |over| join_all(leader_duties(&handles, &settings, &over)).map(drop);
    shutdown.spawn_named("leadership", leadership.run(duties, shutdown.soft().clone()));
}

/// Starts a duty that every server runs.
fn start_own<D: Duty + 'static>(duty: D, handles: &Handles, shutdown: &Shutdown) {
    let recorder = handles.status.recorder(D::NAME);
    shutdown.spawn_named(D::NAME, drive(duty, recorder, shutdown.soft().clone()));
}

/// Returns the duties of one term of a leader, which run until `over`.
fn leader_duties(
    handles: &Handles,
    settings: &Settings,
    over: &CancellationToken,
) -> Vec<BoxFuture<'static, ()>> {
    let term = Term {
        status: &handles.status,
        over,
    };
    let (db, queues) = (|| handles.db.clone(), || handles.queues.clone());
    let (redis, timeout, interval) = (&handles.redis, settings.worker_timeout, settings.cleanup_interval);
    let sources = QueueSources {
        db: db(),
        redis: redis.clone(),
        queues: queues(),
        worker_timeout: timeout,
    };
    let mut duties = vec![
        term.drive(Recoverer::new(db(), Arc::clone(&handles.hints), timeout)),
        term.drive(cleaner(db(), settings)),
        term.drive(GaugeKeeper::new(sources.clone())),
        term.drive(Sampler::new(sources)),
        term.drive(TotalsFolder::new(db())),
        term.drive(Reconciler::new(db(), Arc::clone(&handles.hints))),
        term.drive(StepIndexer::new(db())),
        term.drive(WorkflowKeeper::new(
            db(),
            redis.clone(),
            Arc::clone(&handles.hints),
        )),
    ];
    if let Some(redis) = redis {
        let redis = || Arc::clone(redis);
        let rebuilder = Rebuilder::new(db(), redis(), queues(), timeout);
        duties.push(term.drive(rebuilder.reporting_to(Arc::clone(&handles.status))));
        duties.push(term.drive(Router::new(db(), redis(), queues(), timeout)));
        let age_limit = settings.age_limit;
        duties.extend(age_limit.map(|limit| term.drive(Ager::new(db(), redis(), limit))));
    }
    let days = settings.retention_days;
    duties.extend(days.map(|days| term.drive(PartitionDropper::new(db(), days))));
    let days = settings.dead_letter_retention_days;
    duties.extend(days.map(|days| term.drive(DeadLetterExpirer::new(db(), days, interval))));
    duties
}

/// Returns the cleaner. Definitions are kept as long as anything that may refer to them.
fn cleaner(db: ObservedPool, settings: &Settings) -> Cleaner {
    let cleaner = Cleaner::new(db, settings.cleanup_interval, settings.key_ttl);
    match settings.retention_days {
        Some(days) => {
            cleaner.deleting_definitions(days.max(settings.dead_letter_retention_days.unwrap_or_default()))
        }
        None => cleaner,
    }
}

/// A term of the leader.
struct Term<'a> {
    status: &'a Arc<DutyStatus>,
    over: &'a CancellationToken,
}

impl Term<'_> {
    /// Returns the runs of a duty until the end of the term.
    fn drive<D: Duty + 'static>(&self, duty: D) -> BoxFuture<'static, ()> {
        let recorder = self.status.leader_recorder(D::NAME);
        drive(duty, recorder, self.over.clone()).boxed()
    }
}
