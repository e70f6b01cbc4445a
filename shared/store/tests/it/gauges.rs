use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};
use tasker_core::task::QueueName;
use tasker_store::gauges::{PendingType, Reading, pending_types, read};
use tasker_store::insert::NewTask;
use tasker_store::queues::{declare, pause};
use tasker_store::workers::{NewWorker, register};
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
    assert_eq!(reading(&db).await.queues_without_workers(), 0);
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
    assert_eq!((now.workers, now.queues_without_workers()), (1, 2));
    execute(&db, "UPDATE workers SET last_heartbeat = '2001-01-01'").await;
    let now = reading(&db).await;
    assert_eq!((now.workers, now.queues_without_workers()), (0, 3));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn each_queue_shows_its_age_its_workers_and_whether_it_is_paused(db: PgPool) {
    enter_worker(&db, "w").await;
    let default = QueueName::default_class();
    declare(&db, &[default.clone(), QueueName::low()])
        .await
        .expect("declared");
    pause(&db, &QueueName::low()).await.expect("paused");
    submit_many(&db, 2).await;
    execute(&db, "UPDATE tasks SET enqueued_at = now() - interval '1 minute'").await;
    let now = reading(&db).await;
    let place = |name: &QueueName| now.queues.iter().position(|queue| queue == name.as_str());
    let (default, low) = (
        place(&default).expect("shown"),
        place(&QueueName::low()).expect("shown"),
    );
    assert!(
        (60.0..120.0).contains(&now.queue_ages_seconds[default]),
        "{now:?}"
    );
    assert!(now.queue_ages_seconds[low] < 0.0, "nothing waits there: {now:?}");
    assert_eq!(
        (now.queues_paused[default], now.queues_paused[low]),
        (false, true)
    );
    assert_eq!(now.queue_workers[default], 1);
    assert_eq!(
        (now.worker_states, now.worker_counts),
        (vec!["alive".to_owned()], vec![1])
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn pending_tasks_are_counted_by_queue_and_type_and_due_ones_that_are_not_promoted_show_their_lag(
    db: PgPool,
) {
    submit_many(&db, 3).await;
    let low = NewTask {
        queue: QueueName::low(),
        ..a_task("echo")
    };
    submit_one(&db, low).await;
    let counted = |queue: &str, count: i64| PendingType {
        queue: queue.to_owned(),
        task_name: "echo".to_owned(),
        count,
    };
    assert_eq!(
        pending_types(&db).await.expect("counts"),
        [counted("default", 3), counted("low_priority", 1)]
    );
    assert!(reading(&db).await.promotion_lag_seconds < OLD);
    execute(
        &db,
        "UPDATE tasks SET status = 'scheduled', run_at = now() - interval '1 minute'",
    )
    .await;
    assert!(pending_types(&db).await.expect("counts").is_empty());
    assert!((60.0..120.0).contains(&reading(&db).await.promotion_lag_seconds));
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
