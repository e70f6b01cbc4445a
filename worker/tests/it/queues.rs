//! Queues of a worker: declared or not.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskStatus};
use tasker_store::insert::NewTask;
use tasker_store::queues::{self, Declared};
use tasker_testkit::a_task;
use tasker_worker::{AnyTaskType, Context, RunError, TaskError, TaskType};

use crate::harness::System;

fn mail() -> QueueName {
    QueueName::parse("mail").expect("a name")
}

fn noop() -> AnyTaskType {
    TaskType::new("noop", |_: Context, _: Value| async { Ok::<_, TaskError>(()) }).into()
}

async fn drains_mail(system: &System) {
    let task = NewTask {
        queue: mail(),
        ..a_task("noop")
    };
    let id = system.submit(task).await;
    system.until(id, TaskStatus::Completed).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_drains_a_queue_that_is_declared_in_postgres_alone(db: PgPool) {
    let created = queues::create(&db, &mail()).await.expect("created");
    assert_eq!(created, Declared::Created);
    let system = System::new(db);
    let worker = system.worker(vec![noop()], &[("task-queues", "mail")]);
    drains_mail(&system).await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_waits_a_moment_for_a_queue_that_a_server_is_about_to_declare(db: PgPool) {
    let system = System::new(db);
    let worker = system.worker(vec![noop()], &[("task-queues", "mail")]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    queues::create(&system.db, &mail()).await.expect("created");
    drains_mail(&system).await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_queue_that_is_not_declared_ends_the_worker_which_says_how_to_declare_it(db: PgPool) {
    let system = System::new(db);
    let worker = system.worker(vec![noop()], &[("task-queues", "default,mail,male")]);
    let error = worker.ended().await.expect_err("it ended");
    assert!(
        matches!(&error, RunError::UndeclaredQueues(names) if names.len() == 2),
        "{error}"
    );
    let text = error.to_string();
    for word in [
        "TASK_QUEUES",
        "`mail`",
        "`male`",
        "low_priority",
        "EXTRA_QUEUES",
        "tasker queue create",
        "POST /queues",
    ] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}
