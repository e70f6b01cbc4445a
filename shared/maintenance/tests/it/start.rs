//! The start of all duties.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_maintenance::{DutyStatus, Handles, Settings, start};
use tasker_platform::lifecycle::Shutdown;
use tasker_queue::RedisQueues;
use tasker_testkit::{TestQueue, eventually};

use crate::no_hints::NoHints;

const SOON: Duration = Duration::from_secs(30);

/// Starts the duties on `db`, with retention and aging if `all`; returns the names of those that ran, after
/// the stop.
async fn ran(db: PgPool, redis: Option<Arc<RedisQueues>>, all: bool, expected: usize) -> Vec<&'static str> {
    let status = Arc::<DutyStatus>::default();
    let handles = Handles {
        db: db.into(),
        redis,
        queues: QueueName::classes().to_vec().into(),
        hints: Arc::new(NoHints),
        status: Arc::clone(&status),
    };
    let settings = Settings {
        alone: true,
        leader_term: Duration::from_secs(15),
        worker_timeout: Duration::from_secs(30),
        cleanup_interval: Duration::from_mins(1),
        key_ttl: Duration::from_hours(1),
        retention_days: all.then_some(30),
        dead_letter_retention_days: all.then_some(30),
        age_limit: all.then_some(Duration::from_mins(1)),
    };
    let shutdown = Shutdown::new();
    start(handles, settings, &shutdown);
    eventually("all duties ran", SOON, async || status.runs().len() >= expected).await;
    let runs = status.runs();
    assert!(runs.iter().all(|(_, runs)| !runs.failed), "{runs:?}");
    shutdown.soft().cancel();
    let ended = tokio::time::timeout(SOON, shutdown.drained()).await;
    assert!(matches!(ended, Ok(true)), "{ended:?}");
    assert!(status.leads_since().is_none());
    runs.into_iter().map(|(name, _)| name).collect()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_single_server_runs_all_duties_until_the_stop(db: PgPool) {
    let mut names = ran(db, Some(TestQueue::new().shared()), true, 15).await;
    names.sort_unstable();
    let expected = [
        "ager",
        "cleaner",
        "dead_letter_expirer",
        "gauges",
        "partition_keeper",
        "promoter",
        "rebuilder",
        "reconciler",
        "recoverer",
        "retention",
        "router",
        "sampler",
        "step_indexer",
        "totals",
        "workflow_keeper",
    ];
    assert_eq!(names, expected);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn without_redis_and_retention_the_duties_that_need_them_are_left_out(db: PgPool) {
    let mut names = ran(db, None, false, 10).await;
    names.sort_unstable();
    let expected = [
        "cleaner",
        "gauges",
        "partition_keeper",
        "promoter",
        "reconciler",
        "recoverer",
        "sampler",
        "step_indexer",
        "totals",
        "workflow_keeper",
    ];
    assert_eq!(names, expected);
}
