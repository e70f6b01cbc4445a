//! The maintenance duties. Each is `run` around `run_once`, and harmless in pairs. What is cheap, and late when it is not done
//! at once, every server does; the rest is the leader's.

mod age;
mod cleanup;
mod expiry;
mod fill;
mod gauges;
mod journal;
mod leader;
mod leader_gauges;
mod partitions;
mod promote;
mod rebuild;
mod recover;
mod retention;
mod roster;
mod router;
mod sampler;
mod sweep;
mod totals;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tasker_shared::config::ServerConfig;
use tasker_shared::lifecycle::Shutdown;
use tasker_shared::store;
use tasker_shared::task::TaskId;
use tokio_util::sync::CancellationToken;

pub use age::Ager;
pub use cleanup::{Cleaned, Cleaner};
pub use expiry::DeadLetterExpirer;
pub use gauges::GaugeKeeper;
pub use journal::{Journal, Page, PassError, Passes};
pub use leader::Leadership;
pub use partitions::PartitionKeeper;
pub use promote::Promoter;
pub use rebuild::Rebuilder;
pub use recover::{Recovered, Recoverer};
pub use retention::PartitionDropper;
pub use router::Router;
pub use sampler::Sampler;
pub use totals::TotalsFolder;

use crate::state::AppState;

/// The longest time that a statement of a duty may take. A link that vanished without a word would hold it up for ever.
const STATEMENT_MAX: Duration = Duration::from_secs(10);

/// Asks Postgres for something on behalf of a duty; without an answer in time that is an error, and the next pass asks again.
async fn asked<T>(statement: impl Future<Output = store::Result<T>>) -> store::Result<T> {
    store::bounded(STATEMENT_MAX, statement).await
}

/// Starts every duty as a task of the process.
pub fn start(state: &AppState, config: &ServerConfig, shutdown: &Shutdown) {
    let stop = shutdown.soft();
    let promoter = Promoter::new(state.db.clone(), Arc::clone(&state.pusher));
    shutdown.spawn_named(
        "promoter",
        promoter.run(state.journal.page("promoter"), stop.clone()),
    );
    let keeper = PartitionKeeper::new(state.db.clone());
    shutdown.spawn_named(
        "partition keeper",
        keeper.run(state.journal.page("partition_keeper"), stop.clone()),
    );

    let holder = format!("server-{}-{}", std::process::id(), TaskId::generate());
    let mut leadership =
        Leadership::new(state.db.clone(), holder, config.leader_term).told_to(Arc::clone(&state.journal));
    if !config.distributed {
        leadership = leadership.alone();
    }
    let (state, worker_timeout, cleanup_interval) =
        (state.clone(), config.worker_timeout, config.cleanup_interval);
    let (retention_days, dead_letter_days) = (config.retention_days, config.dead_letter_retention_days);
    let age_limit = config.queues.age_limit.filter(|_| state.mode.uses_redis());
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
        let journal = Arc::clone(&state.journal);
        async move {
            let page = |duty| journal.leader_page(duty);
            let rebuilt = async {
                if uses_redis {
                    tokio::join!(
                        rebuilder.run(page("rebuilder"), over.clone()),
                        router.run(page("router"), over.clone()),
                    );
                }
            };
            tokio::join!(
                recoverer.run(page("recoverer"), over.clone()),
                cleaner.run(page("cleaner"), over.clone()),
                rebuilt,
                OptionFuture::from(ager.map(|ager| ager.run(page("ager"), over.clone()))),
                gauges.run(page("gauges"), over.clone()),
                sampler.run(page("sampler"), over.clone()),
                folder.run(page("totals"), over.clone()),
                OptionFuture::from(dropper.map(|dropper| dropper.run(page("retention"), over.clone()))),
                OptionFuture::from(
                    expirer.map(|expirer| expirer.run(page("dead_letter_expirer"), over.clone()))
                ),
            );
        }
    };
    shutdown.spawn_named("leadership", leadership.run(duties, stop.clone()));
}
