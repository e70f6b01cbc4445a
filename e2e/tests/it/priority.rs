//! Priority classes: the list of a task and the workers that claim it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::Running;

use crate::harness::{Idle, SOON, echo};

/// Longer than a worker's interval of fallback polls, which must not give it tasks of other queues either.
const A_LOOK: Duration = Duration::from_secs(6);

fn with_priority(priority: i32) -> Value {
    let mut task = echo(0);
    task["priority"] = json!(priority);
    task
}

/// Occupies a worker with tasks of its class for a while.
async fn work_for_a_while(server: &Running, priority: i32) {
    let began = Instant::now();
    while began.elapsed() < A_LOOK {
        let id = server.submit(&with_priority(priority)).await;
        let (_, task) = server.get(&format!("/tasks/{id}?wait=30")).await;
        assert_eq!(task["status"], "completed");
    }
}

#[sqlx::test(migrations = false)]
async fn a_priority_picks_the_list_and_a_queue_overrides_it(db: PgPool) {
    let idle = Idle::start(&db).await;
    for priority in [6, 100, 5, 0, 3, -1] {
        idle.server.submit(&with_priority(priority)).await;
    }
    let lengths =
        || ["high_priority", "default", "low_priority"].map(|queue| idle.system.queue().llen(queue));
    assert_eq!(lengths(), [2, 3, 1]);
    let mut task = with_priority(50);
    task["queue"] = json!("low");
    idle.server.submit(&task).await;
    assert_eq!(lengths(), [2, 3, 2]);
}

#[sqlx::test(migrations = false)]
async fn a_worker_takes_nothing_from_lists_that_it_does_not_serve(db: PgPool) {
    let idle = Idle::start(&db).await;
    let (server, queue) = (&idle.server, idle.system.queue());
    let default = server.submit(&with_priority(0)).await;
    let mut high_worker = idle.system.worker(&[("TASK_QUEUES", "high_priority")]).await;
    work_for_a_while(server, 10).await;
    let task = server.task(&default).await;
    assert_eq!((&task["status"], &task["runs"]), (&json!("pending"), &json!(0)));
    assert_eq!(queue.llen("default"), 1);

    assert_eq!(high_worker.process.terminate().await.code(), Some(0));
    let high = server.submit(&with_priority(10)).await;
    let _default_worker = idle
        .system
        .worker(&[("TASK_QUEUES", "default,low_priority")])
        .await;
    server.wait_for(&default, "completed", SOON).await;
    work_for_a_while(server, -3).await;
    let task = server.task(&high).await;
    assert_eq!((&task["status"], &task["runs"]), (&json!("pending"), &json!(0)));
    assert_eq!(queue.llen("high_priority"), 1);
}

#[sqlx::test(migrations = false)]
async fn a_priority_above_fifty_is_run_before_the_tasks_that_wait_in_its_queue(db: PgPool) {
    let idle = Idle::start(&db).await;
    let usual = idle.server.submit(&with_priority(50)).await;
    let older = idle.server.submit(&with_priority(51)).await;
    let batch = json!({"tasks": [with_priority(60), with_priority(100), with_priority(6)]});
    let (status, answer) = idle.server.post("/tasks/submit/batch", &batch).await;
    assert_eq!(status, 202, "{answer}");
    let in_batch = |index: usize| answer["tasks"][index]["task_id"].as_str().expect("an id");
    // a poll without hints would take the oldest row
    let only_hints = [("WORKER_POOL_SIZE", "1"), ("DISPATCH_MODE", "EventDrivenOnly")];
    let _worker = idle.system.worker(&only_hints).await;
    let finished = async || crate::harness::count(&db, "SELECT count(*) FROM finished_tasks").await;
    tasker_testkit::eventually("all are finished", SOON, async || finished().await == 5).await;
    let order: Vec<String> = sqlx::query_scalar("SELECT id::text FROM finished_tasks ORDER BY started_at")
        .fetch_all(&db)
        .await
        .expect("rows");
    assert_eq!(order, [in_batch(0), in_batch(1), &older, &usual, in_batch(2)]);
}

#[sqlx::test(migrations = false)]
async fn a_worker_of_several_queues_takes_the_first_ones_first(db: PgPool) {
    let idle = Idle::start(&db).await;
    for priority in [-5, 0, 10, -5, 0, 10] {
        idle.server.submit(&with_priority(priority)).await;
    }
    let _worker = idle.system.worker(&[("WORKER_POOL_SIZE", "1")]).await;
    let finished = async || crate::harness::count(&db, "SELECT count(*) FROM finished_tasks").await;
    tasker_testkit::eventually("all are finished", SOON, async || finished().await == 6).await;
    let order: Vec<String> = sqlx::query_scalar("SELECT queue FROM finished_tasks ORDER BY started_at")
        .fetch_all(&db)
        .await
        .expect("rows");
    assert_eq!(
        order,
        [
            "high_priority",
            "high_priority",
            "default",
            "default",
            "low_priority",
            "low_priority"
        ]
    );
}
