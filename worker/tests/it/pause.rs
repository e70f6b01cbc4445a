//! Queues that an operator paused.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::insert::NewTask;
use tasker_store::queues::{pause, resume};
use tasker_testkit::{a_task, eventually};
use tasker_worker::{Context, TaskError, TaskType};

use crate::harness::{SOON, System};

/// The time within which a pause takes effect, as guaranteed.
const PROMISED: Duration = Duration::from_secs(2);
/// The time within which claims resume: a check each second, a pop of one second, and a slow machine.
const GOES_ON: Duration = Duration::from_secs(4);

async fn nothing(_: Context, _: serde_json::Value) -> Result<(), TaskError> {
    Ok(())
}

async fn submit_to(system: &System, queue: QueueName) -> TaskId {
    system
        .submit(NewTask {
            queue,
            ..a_task("nothing")
        })
        .await
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_paused_queue_is_left_alone_and_a_resumed_one_goes_on_at_once(db: PgPool) {
    let system = System::new(db);
    let worker = system.worker(vec![TaskType::new("nothing", nothing)], &[]);
    let default = QueueName::default_class;
    let first = submit_to(&system, default()).await;
    system.until(first, TaskStatus::Completed).await;

    pause(&system.db, &default()).await.expect("paused");
    let mut waiting = Vec::new();
    let paused = Instant::now();
    // longer than promised and than the time between two fallback polls; the other queues are still served
    while paused.elapsed() < PROMISED + Duration::from_secs(4) {
        waiting.push(submit_to(&system, default()).await);
        let other = submit_to(&system, QueueName::high()).await;
        system.until(other, TaskStatus::Completed).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for id in &waiting {
        let task = system.task(*id).await;
        assert_eq!((task.status, task.runs), (TaskStatus::Pending, 0));
    }
    let depth = waiting.len() as u64;
    eventually("the hints are back on the list", SOON, async || {
        system.queue.depths(&[default()]).await.expect("Redis answers") == [depth]
    })
    .await;

    resume(&system.db, &default()).await.expect("resumed");
    let resumed = Instant::now();
    for id in waiting {
        system.until(id, TaskStatus::Completed).await;
    }
    assert!(resumed.elapsed() < GOES_ON, "{:?}", resumed.elapsed());
    worker.stop().await.expect("a clean stop");
}
