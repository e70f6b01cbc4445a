use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};
use tasker_shared::store::gauges::{Reading, read};
use tasker_shared::store::insert::NewTask;
use tasker_shared::store::queues::declare;
use tasker_shared::store::workers::{NewWorker, register};
use tasker_shared::task::QueueName;
use tasker_testkit::{a_task, a_worker, eventually};

use super::support::{WORKER_TIMEOUT, connections, enter_worker, execute, run_of, submit_many, submit_one};

const SOON: Duration = Duration::from_secs(30);
/// Seconds.
const OLD: f64 = 0.5;

async fn reading(db: &PgPool) -> Reading {
    read(db, WORKER_TIMEOUT).await.expect("a reading")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_queue_is_without_workers_when_something_waits_in_it_that_no_live_worker_serves(db: PgPool) {
    let extra = QueueName::parse("team.mail").expect("a name");
    declare(&db, std::slice::from_ref(&extra))
        .await
        .expect("declared");
    assert_eq!(reading(&db).await.queues_without_workers, 0);
    for queue in [QueueName::low(), extra, QueueName::default_class()] {
        let task = NewTask {
            queue,
            ..a_task("echo")
        };
        submit_one(&db, task).await;
    }
    let default_only = NewWorker {
        queues: vec![QueueName::default_class()],
        ..a_worker("default")
    };
    register(&db, &default_only).await.expect("entered");
    let now = reading(&db).await;
    assert_eq!((now.workers, now.queues_without_workers), (1, 2));
    execute(&db, "UPDATE workers SET last_heartbeat = '2001-01-01'").await;
    let now = reading(&db).await;
    assert_eq!((now.workers, now.queues_without_workers), (0, 3));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn dead_letters_are_counted(db: PgPool) {
    enter_worker(&db, "w").await;
    submit_many(&db, 2).await;
    assert_eq!(reading(&db).await.dead_letters, 0);
    execute(&db, "UPDATE tasks SET status = 'dead_letter', reason = 'failed'").await;
    assert_eq!(reading(&db).await.dead_letters, 2);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn running_tasks_are_counted_by_type(db: PgPool) {
    enter_worker(&db, "w").await;
    assert!(reading(&db).await.running_types.is_empty());
    for id in &submit_many(&db, 3).await[..2] {
        run_of(&db, "w", *id).await;
    }
    let now = reading(&db).await;
    assert_eq!(
        (now.running_types, now.running_counts),
        (vec!["echo".to_owned()], vec![2])
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_transaction_that_keeps_its_snapshot_open_shows_its_age(db: PgPool) {
    let mut connections: Vec<PgConnection> = connections(&db, 1).await;
    let mut open = connections[0]
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .expect("a transaction");
    sqlx::query("SELECT FROM tasks")
        .execute(&mut *open)
        .await
        .expect("a snapshot");
    let age = async || reading(&db).await.oldest_snapshot_seconds;
    eventually("the snapshot is old", SOON, async || age().await > OLD).await;
    open.rollback().await.expect("its end");
    assert!(age().await < OLD);
}
