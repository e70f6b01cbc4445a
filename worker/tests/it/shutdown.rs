//! What a stop does to runs.

use std::sync::Arc;

use serde_json::Value;
use sqlx::PgPool;
use tasker_shared::queue::BLOCK_MAX;
use tasker_shared::store::workers;
use tasker_shared::task::{QueueName, TaskStatus};
use tasker_testkit::{a_task, eventually};
use tasker_worker::{Context, Task, TaskError};
use tokio::sync::Notify;

use crate::harness::{SOON, System};

async fn never_ends(_: Context, _: Value) -> Result<(), TaskError> {
    std::future::pending().await
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_stop_lets_runs_end_and_takes_the_worker_off_the_list(db: PgPool) {
    let system = System::new(db);
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let gated = Task::new("gated", move |_: Context, _: Value| {
        let gate = Arc::clone(&opened);
        async move {
            gate.notified().await;
            Ok::<_, TaskError>("done")
        }
    });
    let worker = system.worker(vec![gated], &[]);
    let id = system.submit(a_task("gated")).await;
    system.until(id, TaskStatus::Running).await;
    let stopping = tokio::spawn(worker.stop());
    eventually("the worker drains", SOON, async || {
        workers::list(&system.db, 30.0)
            .await
            .expect("workers can be read")[0]
            .status
            == "draining"
    })
    .await;
    gate.notify_one();
    stopping.await.expect("no panic").expect("a clean stop");
    assert_eq!(system.task(id).await.status, TaskStatus::Completed);
    assert!(
        workers::list(&system.db, 30.0)
            .await
            .expect("workers can be read")
            .is_empty()
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_run_that_does_not_end_in_time_goes_back_to_the_front_and_counts_as_nothing(db: PgPool) {
    let system = System::new(db);
    let settings = [
        ("shutdown-timeout", "100ms"),
        ("worker-pool-size", "1"),
        ("tasker-deployment-mode", "EventDrivenOnly"),
    ];
    let worker = system.worker(vec![Task::new("never_ends", never_ends)], &settings);
    let ids = system
        .submit_all(vec![a_task("never_ends"), a_task("never_ends")])
        .await;
    system.until(ids[0], TaskStatus::Running).await;
    worker.stop().await.expect("a clean stop");
    let task = system.task(ids[0]).await;
    assert_eq!(task.status, TaskStatus::Pending);
    assert_eq!((task.runs, task.attempts, task.crash_count), (1, 0, 0));
    let mut popper = system.queue.popper(&[QueueName::default_class()]);
    assert_eq!(
        popper.pop(10, BLOCK_MAX, false).await.expect("Redis answers").ids,
        ids
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_idle_worker_stops_at_once(db: PgPool) {
    let system = System::new(db);
    let worker = system.worker(vec![Task::new("never_ends", never_ends)], &[]);
    eventually("the worker is registered", SOON, async || {
        !workers::list(&system.db, 30.0)
            .await
            .expect("workers can be read")
            .is_empty()
    })
    .await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_is_dropped_leaves_no_connection(db: PgPool) {
    let system = System::new(db);
    let worker = system.built_in_worker(&[]);
    let id = system.submit(a_task("echo")).await;
    system.until(id, TaskStatus::Completed).await;
    assert!(sessions(&system.db).await > 0);
    drop(worker);
    eventually("its sessions are gone", SOON, async || {
        sessions(&system.db).await == 0
    })
    .await;
}

/// The sessions of workers in this database.
async fn sessions(db: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name LIKE 'tasker-w%'",
    )
    .fetch_one(db)
    .await
    .expect("an answer")
}
