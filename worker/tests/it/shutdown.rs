//! Runs during the shutdown of a worker.

use std::sync::Arc;

use serde_json::Value;
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskStatus};
use tasker_queue::BLOCK_MAX;
use tasker_store::workers;
use tasker_testkit::{a_task, eventually};
use tasker_worker::{Context, TaskError, TaskType};
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
    let gated = TaskType::new("gated", move |_: Context, _: Value| {
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
    let worker = system.worker(vec![TaskType::new("never_ends", never_ends)], &settings);
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
    let worker = system.worker(vec![TaskType::new("never_ends", never_ends)], &[]);
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
async fn a_worker_that_is_dropped_drops_its_runs_and_leaves_no_connection(db: PgPool) {
    let system = System::new(db);
    let held = Arc::new(());
    let of_the_run = Arc::clone(&held);
    let never_ends = move |_: Context, _: Value| {
        let of_the_run = Arc::clone(&of_the_run);
        async move {
            let ended: Result<(), TaskError> = std::future::pending().await;
            drop(of_the_run);
            ended
        }
    };
    let worker = system.worker(vec![TaskType::new("never_ends", never_ends)], &[]);
    let id = system.submit(a_task("never_ends")).await;
    eventually("it runs", SOON, async || Arc::strong_count(&held) == 3).await;
    assert!(sessions(&system.db).await > 0);
    drop(worker);
    eventually("its run is dropped, its sessions are gone", SOON, async || {
        Arc::strong_count(&held) == 1 && sessions(&system.db).await == 0
    })
    .await;
    assert_eq!(system.task(id).await.status, TaskStatus::Running, "recovery's");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_success_that_a_dropped_worker_could_not_write_is_no_failure(db: PgPool) {
    let system = System::new(db);
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let waits = move |_: Context, _: Value| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            Ok::<(), TaskError>(())
        }
    };
    let worker = system.worker(vec![TaskType::new("waits", waits)], &[]);
    let id = system.submit(a_task("waits")).await;
    system.until(id, TaskStatus::Running).await;
    let mut lock = system.db.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM tasks WHERE id = $1 FOR UPDATE")
        .bind(id)
        .execute(&mut *lock)
        .await
        .expect("a lock");
    go.notify_one();
    let waiting = async || waiting_for_locks(&system.db).await;
    eventually("its write waits", SOON, async || waiting().await.len() == 1).await;
    drop(worker);
    sqlx::query("SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid")
        .bind(waiting().await)
        .execute(&system.db)
        .await
        .expect("its write fails");
    eventually("no backend waits", SOON, async || waiting().await.is_empty()).await;
    lock.rollback().await.expect("the end of the lock");
    eventually("its sessions are gone", SOON, async || {
        sessions(&system.db).await == 0
    })
    .await;
    assert_eq!(system.task(id).await.status, TaskStatus::Running);
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

/// The backends of this database that wait for a lock.
async fn waiting_for_locks(db: &PgPool) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_all(db)
    .await
    .expect("an answer")
}
