//! Priority aging: a task that waited too long is not starved by a flood of more urgent ones.

use serde_json::json;
use sqlx::PgPool;
use tasker_testkit::System;

use crate::harness::{Idle, SOON, count, echo};

/// Number of urgent tasks, more than one slot runs before the waiting task has aged and been claimed.
const FLOOD: usize = 600;

#[sqlx::test(migrations = false)]
async fn a_low_task_that_waited_too_long_is_run_amid_a_flood_of_default_ones(db: PgPool) {
    let idle = Idle::on(System::new(&db).with("PRIORITY_AGE_LIMIT", "1s")).await;
    let mut low = echo(0);
    low["priority"] = json!(-1);
    let low = idle.server.submit(&low).await;
    let flood: Vec<_> = (0..FLOOD)
        .map(|_| json!({"task_name": "example_long_running", "parameters": {"duration": 0.05}}))
        .collect();
    let (status, answer) = idle
        .server
        .post("/tasks/submit/batch", &json!({"tasks": flood}))
        .await;
    assert_eq!(status, 202, "{answer}");
    let _worker = idle.system.worker(&[("WORKER_POOL_SIZE", "1")]).await;
    idle.server.wait_for(&low, "completed", SOON).await;
    let waiting = count(
        &db,
        "SELECT count(*) FROM tasks WHERE queue = 'default' AND status = 'pending'",
    )
    .await;
    assert!(waiting > 0, "the flood is over");
}
