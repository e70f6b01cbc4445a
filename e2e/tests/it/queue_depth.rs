//! `redis-cli llen` is the number of pending tasks, whatever the workers do.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System, TestQueue, eventually};

use crate::harness::{SOON, count};

/// Maximum time for which the list may differ from the table while tasks start.
const SETTLED: Duration = Duration::from_secs(1);
const SAMPLE: Duration = Duration::from_millis(50);

fn task(name: &str, seconds: f64) -> Value {
    json!({"task_name": name, "parameters": {"seconds": seconds}})
}

async fn pending(db: &PgPool) -> u64 {
    let pending = count(db, "SELECT count(*) FROM tasks WHERE status = 'pending'").await;
    u64::try_from(pending).expect("a count")
}

async fn submit_all(server: &Running, task: &Value, number: usize) -> Vec<String> {
    let tasks = vec![task.clone(); number];
    let (status, answer) = server
        .post("/tasks/submit/batch", &json!({ "tasks": tasks }))
        .await;
    assert_eq!(status, 202, "{answer}");
    let tasks = answer["tasks"].as_array().expect("the tasks");
    let id = |task: &Value| task["task_id"].as_str().expect("an id").to_owned();
    tasks.iter().map(id).collect()
}

/// Compares the list with the table until no task is pending; asserts the longest time for which they
/// differed.
async fn watch_until_drained(db: &PgPool, queue: &TestQueue) {
    let mut differed_since = None;
    loop {
        let (rows, hints) = (pending(db).await, queue.llen("default"));
        if rows == hints {
            differed_since = None;
            if rows == 0 {
                return;
            }
        } else {
            let since = *differed_since.get_or_insert_with(Instant::now);
            assert!(
                since.elapsed() < SETTLED,
                "llen is {hints}, {rows} tasks are pending"
            );
        }
        tokio::time::sleep(SAMPLE).await;
    }
}

/// Submits tasks that run longer than a worker's interval of fallback polls.
async fn depth_is_right(db: PgPool, workers: usize, slots: &str, tasks: usize, seconds: f64) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let settings = [("WORKER_POOL_SIZE", slots)];
    let _workers = join_all((0..workers).map(|_| system.worker_of_types("wait", &settings))).await;
    submit_all(&server, &task("wait", seconds), tasks).await;
    watch_until_drained(&db, system.queue()).await;
}

#[sqlx::test(migrations = false)]
async fn one_slot_with_tasks_of_six_seconds(db: PgPool) {
    depth_is_right(db, 1, "1", 4, 6.0).await;
}

#[sqlx::test(migrations = false)]
async fn two_workers_of_two_slots_with_tasks_of_five_and_a_half_seconds(db: PgPool) {
    depth_is_right(db, 2, "2", 12, 5.5).await;
}

#[sqlx::test(migrations = false)]
async fn three_workers_of_ten_slots_with_short_tasks(db: PgPool) {
    depth_is_right(db, 3, "10", 600, 0.1).await;
}

#[sqlx::test(migrations = false)]
async fn one_slot_with_one_task_of_twelve_seconds_before_others(db: PgPool) {
    depth_is_right(db, 1, "1", 2, 12.0).await;
}

#[sqlx::test(migrations = false)]
async fn tasks_cancelled_in_a_paused_queue_leave_its_depth(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let _worker = system.worker_of_types("wait", &[]).await;
    let (status, _) = server.post("/queues/default/pause", &json!({})).await;
    assert_eq!(status, 200);
    let ids = submit_all(&server, &task("wait", 0.0), 5_600).await;
    // newest first, the worst order for a removal from a list
    for chunk in ids[600..].rchunks(50) {
        let cancels = chunk.iter().map(async |id| {
            let (status, answer) = server.post(&format!("/tasks/{id}/cancel"), &json!({})).await;
            assert_eq!(status, 200, "{answer}");
        });
        join_all(cancels).await;
    }
    let deadline = Duration::from_secs(15);
    eventually("llen is the number of pending tasks", deadline, async || {
        system.queue().llen("default") == 600
    })
    .await;
    assert_eq!(pending(&db).await, 600);
    let (status, _) = server.post("/queues/default/resume", &json!({})).await;
    assert_eq!(status, 200);
    eventually("the rest is done", SOON, async || {
        pending(&db).await == 0 && system.queue().llen("default") == 0
    })
    .await;
}
