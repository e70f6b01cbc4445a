//! The polling fallback: pending rows are found whatever happened to their hints.

use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::insert::{NewTask, insert};
use tasker_store::workers;
use tasker_testkit::a_task;
use tasker_worker::{Context, TaskError, TaskType};

use crate::harness::System;

async fn nothing(_: Context, _: serde_json::Value) -> Result<(), TaskError> {
    Ok(())
}

/// Writes rows whose hints are lost.
async fn lost(system: &System, count: usize) -> Vec<TaskId> {
    let queues = [QueueName::high(), QueueName::low()];
    let queue = |number: usize| queues[number % 2].clone();
    let tasks: Vec<NewTask> = (0..count)
        .map(|number| NewTask {
            queue: queue(number),
            ..a_task("nothing")
        })
        .collect();
    insert(&system.db, &tasks, 60.0)
        .await
        .expect("tasks can be inserted");
    tasks.iter().map(|task| task.id).collect()
}

async fn all_complete(system: &System, ids: Vec<TaskId>) {
    for id in ids {
        system.until(id, TaskStatus::Completed).await;
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn rows_without_a_hint_are_found_by_a_worker_with_free_slots(db: PgPool) {
    let system = System::new(db);
    let _worker = system.worker(
        vec![TaskType::new("nothing", nothing)],
        &[("worker-pool-size", "3")],
    );
    let first = system.submit(a_task("nothing")).await;
    system.until(first, TaskStatus::Completed).await;
    let ids = lost(&system, 20).await;
    all_complete(&system, ids).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn work_goes_on_from_postgres_while_redis_is_away(db: PgPool) {
    let system = System::new(db);
    let ids = lost(&system, 20).await;
    let settings = [("redis-url", "redis://127.0.0.1:1"), ("worker-pool-size", "3")];
    let worker = system.worker(vec![TaskType::new("nothing", nothing)], &settings);
    all_complete(&system, ids).await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn polling_only_needs_no_redis_at_all(db: PgPool) {
    let system = System::new(db);
    let ids = lost(&system, 20).await;
    let settings = [
        ("redis-url", "redis://127.0.0.1:1"),
        ("tasker-deployment-mode", "PollingOnly"),
        ("claim-interval", "20ms"),
        ("worker-pool-size", "3"),
    ];
    let worker = system.worker(vec![TaskType::new("nothing", nothing)], &settings);
    all_complete(&system, ids).await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn event_driven_only_waits_for_redis_before_it_registers(db: PgPool) {
    let system = System::new(db);
    let ids = lost(&system, 20).await;
    let away = ("redis-url", "redis://127.0.0.1:1");
    let task = || vec![TaskType::new("nothing", nothing)];
    let settings = [away, ("tasker-deployment-mode", "EventDrivenOnly")];
    let waiting = system.worker(task(), &settings);
    // one that starts later and does not wait shows how far the first would have come
    let other = system.worker(task(), &[away]);
    all_complete(&system, ids).await;
    let listed = workers::list(&system.db, 30.0).await;
    assert_eq!(listed.expect("workers can be read").len(), 1);
    for worker in [waiting, other] {
        worker.stop().await.expect("a clean stop");
    }
}
