//! The maintenance duties: background jobs of the server, each a loop `run` around `run_once`.
//!
//! Every duty is safe to run on two servers at once. Every server promotes due tasks and creates partitions:
//! both are cheap and must not wait for an election. All other duties run on the leader only.

mod age;
mod cleanup;
mod duty_status;
mod expiry;
mod failure_detector;
mod fill;
mod fleet_changes;
mod gauges;
mod leader;
mod leader_gauges;
mod partitions;
mod promote;
mod rebuild;
mod recover;
mod retention;
mod router;
mod sampler;
mod sweep;
mod totals;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tasker_config::{DispatchMode, ServerConfig};
use tasker_core::task::TaskId;
use tasker_platform::lifecycle::Shutdown;
use tasker_queue::RedisQueues;
use tasker_store::{self as store, PgPool};
use tokio_util::sync::CancellationToken;

pub use age::Ager;
pub use cleanup::{Cleaned, Cleaner};
pub use duty_status::{DutyError, DutyRecorder, DutyRuns, DutyStatus};
pub use expiry::DeadLetterExpirer;
pub use gauges::GaugeKeeper;
pub use leader::Leadership;
pub use partitions::PartitionKeeper;
pub use promote::Promoter;
pub use rebuild::Rebuilder;
pub use recover::{Recovered, Recoverer};
pub use retention::PartitionDropper;
pub use router::Router;
pub use sampler::Sampler;
pub use totals::TotalsFolder;

use crate::queues::DeclaredQueues;
use crate::submit::push::Pusher;

/// Maximum duration of a statement of a duty. A connection that broke without a close would block it for
/// ever.
const STATEMENT_MAX: Duration = Duration::from_secs(10);

/// Runs a statement of a duty with [`STATEMENT_MAX`] as its timeout. On a timeout the run fails, and the next
/// run tries again.
async fn bounded<T>(statement: impl Future<Output = store::Result<T>>) -> store::Result<T> {
    store::bounded(STATEMENT_MAX, statement).await
}

/// The parts of the server that the duties use.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Postgres.
    pub db: PgPool,
    /// Redis; used unless the mode is `PollingOnly`.
    pub queue: Arc<RedisQueues>,
    /// Pushes wake-up hints to Redis.
    pub pusher: Arc<Pusher>,
    /// The declared queues.
    pub queues: DeclaredQueues,
    /// The dispatch mode.
    pub mode: DispatchMode,
    /// The minimum lifetime of an idempotency key.
    pub key_ttl: Duration,
    /// The status of the duties of this server.
    pub duty_status: Arc<DutyStatus>,
}

/// Starts all duties as background tasks.
pub fn start(state: &Resources, config: &ServerConfig, shutdown: &Shutdown) {
    let stop = shutdown.soft();
    let promoter = Promoter::new(state.db.clone(), Arc::clone(&state.pusher));
    shutdown.spawn_named(
        "promoter",
        promoter.run(state.duty_status.recorder("promoter"), stop.clone()),
    );
    let keeper = PartitionKeeper::new(state.db.clone());
    shutdown.spawn_named(
        "partition keeper",
        keeper.run(state.duty_status.recorder("partition_keeper"), stop.clone()),
    );

    let holder = format!("server-{}-{}", std::process::id(), TaskId::generate());
    let mut leadership = Leadership::new(state.db.clone(), holder, config.leader_term)
        .reporting_to(Arc::clone(&state.duty_status));
    // a single server is its own predecessor, and need not wait for the old lease to expire after a crash
    if !config.distributed {
        leadership = leadership.alone();
    }
    let (state, worker_timeout, cleanup_interval) =
        (state.clone(), config.worker_timeout, config.cleanup_interval);
    let (retention_days, dead_letter_days) = (config.retention_days, config.dead_letter_retention_days);
    // published through Redis, which `PollingOnly` does not use
    let age_limit = config.queues.age_limit.filter(|_| state.mode.uses_redis());
    // creates all duties for each term: another server may have led since the
    // last one, so earlier state is out of date
    let duties = move |over: CancellationToken| {
        let pusher = Arc::clone(&state.pusher);
        let recoverer = Recoverer::new(state.db.clone(), pusher, worker_timeout);
        let cleaner = Cleaner::new(state.db.clone(), cleanup_interval, state.key_ttl);
        let rebuilder = Rebuilder::new(
            state.db.clone(),
            Arc::clone(&state.queue),
            state.queues.clone(),
            worker_timeout,
        );
        let router = Router::new(
            state.db.clone(),
            Arc::clone(&state.queue),
            state.queues.clone(),
            worker_timeout,
        );
        let uses_redis = state.mode.uses_redis();
        let ager = age_limit.map(|limit| Ager::new(state.db.clone(), Arc::clone(&state.queue), limit));
        let redis = uses_redis.then(|| Arc::clone(&state.queue));
        let gauges = GaugeKeeper::new(
            state.db.clone(),
            redis.clone(),
            state.queues.clone(),
            worker_timeout,
        );
        let sampler = Sampler::new(state.db.clone(), redis, state.queues.clone(), worker_timeout);
        let folder = TotalsFolder::new(state.db.clone());
        let dropper = retention_days.map(|days| PartitionDropper::new(state.db.clone(), days));
        let expirer =
            dead_letter_days.map(|days| DeadLetterExpirer::new(state.db.clone(), days, cleanup_interval));
        let status = Arc::clone(&state.duty_status);
        async move {
            let recorder = |duty| status.leader_recorder(duty);
            let rebuilt = async {
                if uses_redis {
                    tokio::join!(
                        rebuilder.run(recorder("rebuilder"), over.clone()),
                        router.run(recorder("router"), over.clone()),
                    );
                }
            };
            tokio::join!(
                recoverer.run(recorder("recoverer"), over.clone()),
                cleaner.run(recorder("cleaner"), over.clone()),
                rebuilt,
                OptionFuture::from(ager.map(|ager| ager.run(recorder("ager"), over.clone()))),
                gauges.run(recorder("gauges"), over.clone()),
                sampler.run(recorder("sampler"), over.clone()),
                folder.run(recorder("totals"), over.clone()),
                OptionFuture::from(dropper.map(|dropper| dropper.run(recorder("retention"), over.clone()))),
                OptionFuture::from(
                    expirer.map(|expirer| expirer.run(recorder("dead_letter_expirer"), over.clone()))
                ),
            );
        }
    };
    shutdown.spawn_named("leadership", leadership.run(duties, stop.clone()));
}
