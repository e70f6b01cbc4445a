//! Scheduled tasks: `delay` and `run_at`.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{SOON, Small, count, echo};

async fn runs_when_it_is_due_and_not_before(small: &Small, db: &PgPool, task: &Value) {
    let id = small.server.submit(task).await;
    let waiting = small.server.task(&id).await;
    assert_eq!(waiting["status"], "scheduled");
    assert_eq!(small.system.queue().llen("default"), 0);
    small.server.wait_for(&id, "completed", SOON).await;
    let early = "SELECT count(*) FROM finished_tasks WHERE started_at < run_at OR started_at < created_at + interval '1 second'";
    assert_eq!(count(db, early).await, 0);
    let (_, history) = small.server.get(&format!("/tasks/{id}/history")).await;
    let states: Vec<&Value> = history["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["to"])
        .collect();
    assert_eq!(states, ["scheduled", "pending", "running", "completed"]);
}

#[sqlx::test(migrations = false)]
async fn a_delayed_task_is_scheduled_then_runs_and_never_early(db: PgPool) {
    let small = Small::start(&db).await;
    let mut task = echo(1);
    task["delay"] = json!("2s");
    runs_when_it_is_due_and_not_before(&small, &db, &task).await;
}

#[sqlx::test(migrations = false)]
async fn a_task_with_a_time_is_scheduled_then_runs_and_never_early(db: PgPool) {
    let small = Small::start(&db).await;
    let in_two_seconds = r#"SELECT to_char((now() + interval '2 seconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;
    let time: String = sqlx::query_scalar(in_two_seconds)
        .fetch_one(&db)
        .await
        .expect("a time");
    let mut task = echo(1);
    task["run_at"] = json!(time);
    runs_when_it_is_due_and_not_before(&small, &db, &task).await;
}
