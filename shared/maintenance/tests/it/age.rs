//! Priority aging: the counts of starved tasks that the leader publishes.

use std::time::Duration;

use sqlx::PgPool;
use tasker_core::task::{Hint, QueueName};
use tasker_maintenance::Ager;
use tasker_store::insert::{NewTask, insert};
use tasker_store::queues::{pause, resume};
use tasker_testkit::{TestQueue, a_task};

const LIMIT: Duration = Duration::from_mins(10);

/// Writes pending rows of `queue` that have waited for `minutes`, and pushes their hints.
async fn waiting(db: &PgPool, queue: &TestQueue, name: &QueueName, count: usize, minutes: i32) {
    let tasks: Vec<NewTask> = (0..count)
        .map(|_| NewTask {
            queue: name.clone(),
            ..a_task("echo")
        })
        .collect();
    insert(db, &tasks, 60.0).await.expect("the tasks are stored");
    let ids: Vec<uuid::Uuid> = tasks
        .iter()
        .map(|task| task.id.to_string().parse().expect("a UUID"))
        .collect();
    sqlx::query("UPDATE tasks SET enqueued_at = now() - make_interval(mins => $1) WHERE id = ANY ($2)")
        .bind(minutes)
        .bind(ids)
        .execute(db)
        .await
        .expect("the tasks have waited");
    let hints: Vec<_> = tasks
        .iter()
        .map(|task| Hint::new(task.id, name.clone(), "echo"))
        .collect();
    queue.push_back(&hints).await.expect("Redis answers");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_heads_that_waited_longer_than_the_limit_are_published(db: PgPool) {
    let queue = TestQueue::new();
    let [high, default, low] = QueueName::classes();
    for (name, old, young) in [(&high, 1, 0), (&default, 2, 2), (&low, 3, 1)] {
        waiting(&db, &queue, name, old, 11).await;
        waiting(&db, &queue, name, young, 9).await;
    }
    let mut ager = Ager::new(db, queue.shared(), LIMIT);
    let published = ager.run_once().await.expect("a run");
    assert_eq!(published, [(default.clone(), 2), (low.clone(), 3)]);
    let mut popper = queue.popper(&[high, default, low]);
    let mut taken = Vec::new();
    for _ in 0..5 {
        let popped = popper.pop_starved_first(10, false).await.expect("popped");
        let name = popped.queue.expect("a queue").to_string();
        taken.push((name, popped.ids.len(), popped.starved));
    }
    let expected = [
        ("default", 2, true),
        ("high_priority", 1, false),
        ("low_priority", 3, true),
        ("default", 2, false),
        ("low_priority", 1, false),
    ];
    assert_eq!(
        taken,
        expected.map(|(name, count, aged)| (name.to_owned(), count, aged))
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_paused_queue_does_not_age_until_it_is_resumed(db: PgPool) {
    let queue = TestQueue::new();
    let [_, default, low] = QueueName::classes();
    waiting(&db, &queue, &low, 3, 11).await;
    let mut ager = Ager::new(db.clone(), queue.shared(), LIMIT);
    let mut popper = queue.popper(&[default.clone(), low.clone()]);
    let mut run = async || {
        let published = ager.run_once().await.expect("a run");
        let popped = popper.pop(1, Duration::from_millis(10), false).await;
        (published, popped.expect("popped").starved_left)
    };
    let aged = |count| vec![(default.clone(), 0), (low.clone(), count)];
    assert_eq!(run().await, (aged(3), true));
    pause(&db, &low).await.expect("paused");
    assert_eq!(run().await, (aged(0), false));
    resume(&db, &low).await.expect("resumed");
    assert_eq!(run().await, (aged(3), true));
}
