//! The order and the limits of claims.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::{Hint, QueueName, TaskStatus};
use tasker_store::insert::NewTask;
use tasker_testkit::{a_task, eventually};
use tasker_worker::{AnyTaskType, Context, RegistryError, RunError, TaskError, TaskType};
use tokio::sync::{Notify, Semaphore};

use crate::harness::{SOON, System, with};

/// A task type that records the order in which its tasks run.
fn noting(order: &Arc<Mutex<Vec<i64>>>) -> TaskType<i64, ()> {
    let order = Arc::clone(order);
    TaskType::new("note", move |_: Context, number: i64| {
        let order = Arc::clone(&order);
        async move {
            order.lock().expect("no panic").push(number);
            Ok::<_, TaskError>(())
        }
    })
}

/// A task type whose tasks end when the gate is opened.
fn gated(gate: &Arc<Notify>) -> TaskType<Value, ()> {
    let gate = Arc::clone(gate);
    TaskType::new("gated", move |_: Context, _: Value| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok::<_, TaskError>(())
        }
    })
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn queues_are_drained_strictly_in_order_and_each_from_its_head(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let in_queue = |queue, number| NewTask {
        queue,
        ..with("note", &json!(number))
    };
    let mut tasks = Vec::new();
    for (queue, first) in [
        (QueueName::low(), 20),
        (QueueName::default_class(), 10),
        (QueueName::high(), 0),
    ] {
        tasks.extend((first..first + 5).map(|number| in_queue(queue.clone(), number)));
    }
    let ids = system.submit_all(tasks).await;
    let _worker = system.worker(vec![noting(&order)], &[("worker-pool-size", "1")]);
    for id in ids {
        system.until(id, TaskStatus::Completed).await;
    }
    let expected: Vec<i64> = (0..5).chain(10..15).chain(20..25).collect();
    assert_eq!(*order.lock().expect("no panic"), expected);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn no_more_handlers_run_at_once_than_there_are_slots(db: PgPool) {
    let system = System::new(db);
    let gate = Arc::new(Semaphore::new(0));
    let ids = system.submit_all((0..6).map(|_| a_task("gated")).collect()).await;
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counted, highest, opened) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&gate));
    let task = TaskType::new("gated", move |_: Context, _: Value| {
        let (now, most, gate) = (Arc::clone(&counted), Arc::clone(&highest), Arc::clone(&opened));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.acquire().await?.forget();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, TaskError>(())
        }
    });
    let settings = [
        ("worker-pool-size", "2"),
        ("tasker-deployment-mode", "EventDrivenOnly"),
    ];
    let _worker = system.worker(vec![task], &settings);
    eventually("both slots are in use", SOON, async || {
        now.load(Ordering::SeqCst) == 2
    })
    .await;
    assert_eq!(
        system
            .queue
            .depths(&[QueueName::default_class()])
            .await
            .expect("Redis answers"),
        [4]
    );
    gate.add_permits(6);
    for id in ids {
        system.until(id, TaskStatus::Completed).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn reserved_slots_stay_free_for_their_queue(db: PgPool) {
    let system = System::new(db);
    let gate = Arc::new(Notify::new());
    let order = Arc::default();
    let flood = system.submit_all((0..5).map(|_| a_task("gated")).collect()).await;
    let settings = [
        ("worker-pool-size", "3"),
        ("task-queues", "high_priority:1,default"),
    ];
    let tasks: Vec<AnyTaskType> = vec![gated(&gate).into(), noting(&order).into()];
    let _worker = system.worker(tasks, &settings);
    eventually("the shared slots are full", SOON, async || {
        let mut running = 0;
        for id in &flood {
            running += usize::from(system.task(*id).await.status == TaskStatus::Running);
        }
        running == 2
    })
    .await;
    let urgent = system
        .submit(NewTask {
            queue: QueueName::high(),
            ..with("note", &json!(1))
        })
        .await;
    system.until(urgent, TaskStatus::Completed).await;
    gate.notify_waiters();
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_leaves_other_queues_alone(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let other = system
        .submit(NewTask {
            queue: QueueName::low(),
            ..with("note", &json!(1))
        })
        .await;
    let own = system
        .submit(NewTask {
            queue: QueueName::high(),
            ..with("note", &json!(2))
        })
        .await;
    let _worker = system.worker(vec![noting(&order)], &[("task-queues", "high")]);
    system.until(own, TaskStatus::Completed).await;
    assert_eq!(system.task(other).await.status, TaskStatus::Pending);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_hint_that_comes_twice_or_for_nothing_runs_nothing_twice(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let id = system.submit(with("note", &json!(1))).await;
    let hint = |id| Hint::new(id, QueueName::default_class(), "note");
    let gone = hint(tasker_core::task::TaskId::generate());
    system
        .queue
        .push_back(&[hint(id), gone, hint(id)])
        .await
        .expect("hints can be pushed");
    let _worker = system.worker(vec![noting(&order)], &[]);
    system.until(id, TaskStatus::Completed).await;
    let last = system.submit(with("note", &json!(2))).await;
    system.until(last, TaskStatus::Completed).await;
    assert_eq!(*order.lock().expect("no panic"), [1, 2]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_row_that_somebody_keeps_locked_holds_up_no_other(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let tasks = [1, 2, 3].map(|number| with("note", &json!(number)));
    let ids = system.submit_all(tasks.into()).await;
    let mut holder = system.db.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM tasks WHERE id = $1 FOR UPDATE")
        .bind(ids[1])
        .execute(&mut *holder)
        .await
        .expect("a lock");
    let _worker = system.worker(vec![noting(&order)], &[]);
    system.until(ids[0], TaskStatus::Completed).await;
    system.until(ids[2], TaskStatus::Completed).await;
    assert_eq!(system.task(ids[1]).await.status, TaskStatus::Pending);
    holder.rollback().await.expect("the end");
    system.until(ids[1], TaskStatus::Completed).await;
    assert_eq!(*order.lock().expect("no panic"), [1, 3, 2]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_whose_type_no_worker_registers_stays_pending_and_its_hint_is_parked(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let _worker = system.worker(vec![noting(&order)], &[]);
    let id = system.submit(a_task("of_a_newer_release")).await;
    let default = [QueueName::default_class()];
    eventually("it is parked", SOON, async || {
        system.queue.unroutable(&default).await.expect("lengths") == [1]
    })
    .await;
    assert_eq!(system.queue.llen("default"), 0);
    let task = system.task(id).await;
    assert_eq!(
        (task.status, task.runs, task.attempts, task.crash_count),
        (TaskStatus::Pending, 0, 0, 0)
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_the_wrong_worker_pops_reaches_the_one_that_registers_its_type(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let other = TaskType::new("other", |_: Context, _: Value| async { Ok::<_, TaskError>(()) });
    let (_wrong, _right) = (
        system.worker(vec![other], &[]),
        system.worker(vec![noting(&order)], &[]),
    );
    for number in 1..=20 {
        let id = system.submit(with("note", &json!(number))).await;
        let task = system.until(id, TaskStatus::Completed).await;
        assert_eq!((task.runs, task.attempts), (1, 1));
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_paused_queue_is_left_alone_until_it_is_resumed(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let pause = |paused: &'static str| {
        sqlx::query(
            "UPDATE queues SET paused_at = CASE WHEN $1 = 'yes' THEN now() END WHERE name = 'default'",
        )
        .bind(paused)
        .execute(&system.db)
    };
    pause("yes").await.expect("queues can be paused");
    let id = system.submit(with("note", &json!(1))).await;
    let _worker = system.worker(vec![noting(&order)], &[]);
    let other = system
        .submit(NewTask {
            queue: QueueName::high(),
            ..with("note", &json!(2))
        })
        .await;
    system.until(other, TaskStatus::Completed).await;
    assert_eq!(system.task(id).await.status, TaskStatus::Pending);
    pause("no").await.expect("queues can be resumed");
    system.until(id, TaskStatus::Completed).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_with_a_name_registered_twice_does_not_start(db: PgPool) {
    let system = System::new(db);
    let order = Arc::default();
    let worker = system.worker(vec![noting(&order), noting(&order)], &[]);
    let error = worker.stop().await.expect_err("registered twice");
    assert!(matches!(error, RunError::Registry(RegistryError::Twice(name)) if name == "note"));
}
