//! Priority aging: starved tasks alternate with the class above theirs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::insert::NewTask;
use tasker_worker::{Context, TaskError, TaskType};

use crate::harness::{System, with};

const LONG: Duration = Duration::from_mins(1);

type Order = Arc<Mutex<Vec<String>>>;

/// A task type that records the order in which its tasks run.
fn noting(order: &Order) -> TaskType<String, ()> {
    let order = Arc::clone(order);
    TaskType::new("note", move |_: Context, name: String| {
        let order = Arc::clone(&order);
        async move {
            order.lock().expect("no panic").push(name);
            Ok::<_, TaskError>(())
        }
    })
}

/// Submits `count` tasks to `queue`, named by its first letter and their number.
async fn submit(system: &System, queue: QueueName, count: usize) -> Vec<TaskId> {
    let name = |number| format!("{}{number}", &queue.as_str()[..1]);
    let tasks = (0..count).map(|number| NewTask {
        queue: queue.clone(),
        ..with("note", &json!(name(number)))
    });
    system.submit_all(tasks.collect()).await
}

/// Publishes the number of starved tasks at the head of the list, as the leader does.
async fn publish(system: &System, queue: QueueName, count: u64) {
    let published = system.queue.publish_starved(&[(queue, count)], LONG).await;
    published.expect("Redis answers");
}

/// The order in which one slot runs two high, three default and three low tasks, when two of the default and
/// one of the low ones are starved.
async fn order_of(db: PgPool, settings: &[(&str, &str)]) -> Vec<String> {
    let system = System::new(db);
    let mut ids = Vec::new();
    for (queue, count) in [
        (QueueName::high(), 2),
        (QueueName::default_class(), 3),
        (QueueName::low(), 3),
    ] {
        ids.extend(submit(&system, queue, count).await);
    }
    publish(&system, QueueName::default_class(), 2).await;
    publish(&system, QueueName::low(), 1).await;
    let order = Order::default();
    let settings = [&[("worker-pool-size", "1")], settings].concat();
    let _worker = system.worker(vec![noting(&order)], &settings);
    for id in ids {
        system.until(id, TaskStatus::Completed).await;
    }
    let order = order.lock().expect("no panic");
    order.clone()
}

const TURNS: [&str; 8] = ["d0", "h0", "d1", "h1", "l0", "d2", "l1", "l2"];
const STRICT: [&str; 8] = ["h0", "h1", "d0", "d1", "d2", "l0", "l1", "l2"];

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn aged_tasks_take_turns_with_the_class_above_before_younger_ones_of_it(db: PgPool) {
    assert_eq!(order_of(db, &[]).await, TURNS);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn age_counts_where_redis_is_the_only_way_too(db: PgPool) {
    let settings = [("tasker-deployment-mode", "EventDrivenOnly")];
    assert_eq!(order_of(db, &settings).await, TURNS);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn without_a_limit_nothing_ages(db: PgPool) {
    assert_eq!(order_of(db, &[("priority-age-limit", "0")]).await, STRICT);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_flooded_class_never_gets_to_the_workers_dedicated_to_another(db: PgPool) {
    let system = System::new(db);
    let flood = submit(&system, QueueName::default_class(), 50).await;
    let below = submit(&system, QueueName::low(), 5).await;
    publish(&system, QueueName::default_class(), 50).await;
    publish(&system, QueueName::low(), 5).await;
    let order = Order::default();
    let high = system.worker(
        vec![noting(&order)],
        &[("task-queues", "high"), ("worker-pool-size", "1")],
    );
    for id in submit(&system, QueueName::high(), 20).await {
        system.until(id, TaskStatus::Completed).await;
    }
    high.stop().await.expect("a clean stop");
    assert!(
        order
            .lock()
            .expect("no panic")
            .iter()
            .all(|name| name.starts_with('h'))
    );

    let _default = system.worker(
        vec![noting(&order)],
        &[("task-queues", "default"), ("worker-pool-size", "1")],
    );
    for id in flood {
        system.until(id, TaskStatus::Completed).await;
    }
    for id in below {
        let task = system.task(id).await;
        assert_eq!((task.status, task.runs), (TaskStatus::Pending, 0));
    }
}
