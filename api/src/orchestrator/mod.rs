//! The maintenance duties: background jobs of the server. Each implements [`Duty`], and one loop runs them all.
//!
//! Every duty is safe to run on two servers at once. Every server promotes due tasks and creates partitions:
//! both are cheap and must not wait for an election. All other duties run on the leader only.

mod age;
mod cleanup;
mod duty;
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

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tasker_config::ServerConfig;
use tasker_core::task::TaskId;
use tasker_platform::lifecycle::Shutdown;
use tasker_store as store;
use tokio_util::sync::CancellationToken;

pub use age::Ager;
pub use cleanup::{Cleaned, Cleaner};
pub use duty::Duty;
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

use crate::state::AppState;
use duty::drive;

/// Maximum duration of a statement of a duty. A connection that broke without a close would block it for
/// ever.
const STATEMENT_MAX: Duration = Duration::from_secs(10);

/// Runs a statement of a duty with [`STATEMENT_MAX`] as its timeout. On a timeout the run fails, and the next
/// run tries again.
async fn bounded<T>(statement: impl Future<Output = store::Result<T>>) -> store::Result<T> {
    store::bounded(STATEMENT_MAX, statement).await
}

/// Starts all duties as background tasks.
pub fn start(state: &AppState, config: &ServerConfig, shutdown: &Shutdown) {
    start_own(
        Promoter::new(state.db.clone(), Arc::clone(&state.pusher)),
        state,
        shutdown,
    );
    start_own(PartitionKeeper::new(state.db.clone()), state, shutdown);

    let holder = format!("server-{}-{}", std::process::id(), TaskId::generate());
    let mut leadership = Leadership::new(state.db.clone(), holder, config.leader_term)
        .reporting_to(Arc::clone(&state.duty_status));
    // a single server is its own predecessor, and need not wait for the old lease to expire after a crash
    if !config.distributed {
        leadership = leadership.alone();
    }
    let (state, config) = (state.clone(), config.clone());
    // creates all duties for each term: another server may have led since the last one, so earlier state is
    // out of date
    let duties = move |over: CancellationToken| join_all(leader_duties(&state, &config, &over)).map(drop);
    shutdown.spawn_named("leadership", leadership.run(duties, shutdown.soft().clone()));
}

/// Starts a duty that every server runs.
fn start_own<D: Duty + 'static>(duty: D, state: &AppState, shutdown: &Shutdown) {
    let recorder = state.duty_status.recorder(D::NAME);
    shutdown.spawn_named(D::NAME, drive(duty, recorder, shutdown.soft().clone()));
}

/// Returns the duties of one term of a leader, which run until `over`.
fn leader_duties(
    state: &AppState,
    config: &ServerConfig,
    over: &CancellationToken,
) -> Vec<BoxFuture<'static, ()>> {
    let term = Term {
        status: &state.duty_status,
        over,
    };
    let (db, timeout) = (|| state.db.clone(), config.worker_timeout);
    let (redis, queues) = (|| Arc::clone(&state.queue), || state.queues.clone());
    let uses_redis = state.mode.uses_redis();
    let redis_if_used = || uses_redis.then(redis);
    let mut duties = vec![
        term.drive(Recoverer::new(db(), Arc::clone(&state.pusher), timeout)),
        term.drive(Cleaner::new(db(), config.cleanup_interval, state.key_ttl)),
        term.drive(GaugeKeeper::new(db(), redis_if_used(), queues(), timeout)),
        term.drive(Sampler::new(db(), redis_if_used(), queues(), timeout)),
        term.drive(TotalsFolder::new(db())),
    ];
    if uses_redis {
        let status = Arc::clone(&state.duty_status);
        let rebuilder = Rebuilder::new(db(), redis(), queues(), timeout).reporting_to(status);
        duties.push(term.drive(rebuilder));
        duties.push(term.drive(Router::new(db(), redis(), queues(), timeout)));
        let age_limit = config.queues.age_limit;
        duties.extend(age_limit.map(|limit| term.drive(Ager::new(db(), redis(), limit))));
    }
    let retention_days = config.retention_days;
    duties.extend(retention_days.map(|days| term.drive(PartitionDropper::new(db(), days))));
    let dead_letter_days = config.dead_letter_retention_days;
    duties.extend(
        dead_letter_days.map(|days| term.drive(DeadLetterExpirer::new(db(), days, config.cleanup_interval))),
    );
    duties
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
