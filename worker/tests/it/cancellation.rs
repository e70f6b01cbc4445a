//! Outcomes of cancelled tasks.

use serde_json::Value;
use sqlx::PgPool;
use tasker_core::task::TaskStatus;
use tasker_store::cancel::{Cancelled, cancel};
use tasker_testkit::a_task;
use tasker_worker::{Context, TaskError, TaskType};

use crate::harness::System;

async fn obeys(context: Context, _: Value) -> Result<(), TaskError> {
    context.cancelled().cancelled().await;
    Ok(())
}

async fn ignores(_: Context, _: Value) -> Result<(), TaskError> {
    std::future::pending().await
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_running_handler_is_told_over_redis_and_its_task_ends_cancelled(db: PgPool) {
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("obeys", obeys)], &[]);
    let id = system.submit(a_task("obeys")).await;
    system.until(id, TaskStatus::Running).await;
    assert_eq!(
        cancel(&system.db, id, "test").await.expect("it can be cancelled"),
        Cancelled::Requested
    );
    system
        .queue
        .publish_cancellation(id)
        .await
        .expect("Redis answers");
    let task = system.until(id, TaskStatus::Cancelled).await;
    assert_eq!(task.result, None);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_running_handler_is_told_also_when_the_word_is_lost(db: PgPool) {
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("obeys", obeys)], &[]);
    let id = system.submit(a_task("obeys")).await;
    system.until(id, TaskStatus::Running).await;
    cancel(&system.db, id, "test").await.expect("it can be cancelled");
    system.until(id, TaskStatus::Cancelled).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_handler_that_ignores_its_cancellation_is_dropped(db: PgPool) {
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("ignores", ignores)], &[]);
    let id = system.submit(a_task("ignores")).await;
    system.until(id, TaskStatus::Running).await;
    cancel(&system.db, id, "test").await.expect("it can be cancelled");
    let task = system.until(id, TaskStatus::Cancelled).await;
    assert_eq!(task.attempts, 1);
}
