//! The order of priorities above 50 in lists that are rebuilt from the table.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_core::task::{Priority, QueueName, TaskId};
use tasker_maintenance::Rebuilder;
use tasker_store::insert::{NewTask, insert};
use tasker_testkit::{TestQueue, a_task};

/// Writes tasks with these priorities in one statement and pushes no hints.
async fn submit(db: &PgPool, priorities: &[Priority]) -> Vec<TaskId> {
    let task = |priority: &Priority| NewTask {
        priority: *priority,
        ..a_task("echo")
    };
    let tasks: Vec<NewTask> = priorities.iter().map(task).collect();
    insert(db, &tasks, 60.0).await.expect("stored");
    tasks.iter().map(|task| task.id).collect()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_rebuilt_list_has_the_urgent_tasks_at_its_head_the_newest_first(db: PgPool) {
    let usual = submit(&db, &[0, 50]).await;
    let older = submit(&db, &[51, 100]).await;
    let newer = submit(&db, &[60, 1]).await;
    // hints of rows that have just become pending may still be on their way
    sqlx::query("UPDATE tasks SET enqueued_at = enqueued_at - interval '1 minute'")
        .execute(&db)
        .await
        .expect("older rows");
    let (queue, default) = (TestQueue::new(), QueueName::default_class());
    let timeout = Duration::from_secs(30);
    let mut rebuilder = Rebuilder::new(db, queue.shared(), vec![default.clone()], timeout);
    rebuilder.run_once(Instant::now()).await.expect("a run");
    let mut popper = queue.popper(&[default]);
    let popped = popper.pop(9, timeout, false).await.expect("popped").ids;
    let (urgent, last) = newer.split_at(1);
    assert_eq!(popped, [urgent, &older, &usual, last].concat());
}
