//! Common setup and queries of the end-to-end tests.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System, eventually};
use uuid::Uuid;

/// Timeout of most waits, longer than they take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Names of the built-in task types.
pub(crate) const BUILT_IN: [&str; 6] = [
    "echo",
    "example_data_processing",
    "example_failing",
    "example_long_running",
    "http_request",
    "noop",
];

/// A server and a worker for all queues.
pub(crate) struct Small {
    pub(crate) system: System,
    pub(crate) server: Running,
    pub(crate) worker: Running,
}

impl Small {
    pub(crate) async fn start(db: &PgPool) -> Self {
        Self::on(System::new(db)).await
    }

    pub(crate) async fn on(system: System) -> Self {
        let server = system.server(&[]).await;
        let worker = system.worker(&[]).await;
        Self {
            system,
            server,
            worker,
        }
    }
}

/// A server, and a worker that registers the built-in types but serves only another queue.
pub(crate) struct Idle {
    pub(crate) system: System,
    pub(crate) server: Running,
    _worker: Running,
}

impl Idle {
    pub(crate) async fn start(db: &PgPool) -> Self {
        Self::on(System::new(db)).await
    }

    pub(crate) async fn on(system: System) -> Self {
        let system = system.with("EXTRA_QUEUES", "elsewhere");
        let server = system.server(&[]).await;
        let worker = system.worker(&[("TASK_QUEUES", "elsewhere")]).await;
        Self {
            system,
            server,
            _worker: worker,
        }
    }
}

/// Returns a task that returns its parameters.
pub(crate) fn echo(number: usize) -> Value {
    json!({"task_name": "echo", "parameters": {"n": number}})
}

/// Returns a task that runs for `seconds`.
pub(crate) fn long_running(seconds: f64) -> Value {
    json!({"task_name": "example_long_running", "parameters": {"duration": seconds}})
}

/// Submits `count` echoes as one batch and returns their ids.
pub(crate) async fn submit_batch(server: &Running, count: usize) -> Vec<String> {
    let tasks: Vec<Value> = (0..count).map(echo).collect();
    let (status, answer) = server.post("/tasks/submit/batch", &json!({"tasks": tasks})).await;
    assert_eq!(status, 202, "{answer}");
    let tasks = answer["tasks"].as_array().expect("tasks");
    tasks.iter().map(id_of).collect()
}

/// Returns the id in a record or in the response to a submit.
pub(crate) fn id_of(task: &Value) -> String {
    task["task_id"].as_str().expect("the id of a task").to_owned()
}

/// Returns the result of a counting SQL query.
pub(crate) async fn count(db: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.expect("a count")
}

/// Returns the number of rows with these ids, alive or finished.
pub(crate) async fn rows_of(db: &PgPool, ids: &[String]) -> usize {
    let sql = "SELECT (SELECT count(*) FROM tasks WHERE id = ANY($1))
                    + (SELECT count(*) FROM finished_tasks WHERE id = ANY($1))";
    rows(db, sql, ids).await
}

/// Waits until each of these tasks is completed, with exactly one attempt and exactly one row.
pub(crate) async fn all_complete_once(db: &PgPool, ids: &[String]) {
    let sql =
        "SELECT count(*) FROM finished_tasks WHERE id = ANY($1) AND status = 'completed' AND attempts = 1";
    let what = format!("{} tasks are completed", ids.len());
    eventually(&what, SOON, async || rows(db, sql, ids).await >= ids.len()).await;
    assert_eq!(rows_of(db, ids).await, ids.len(), "each task has one row");
}

async fn rows(db: &PgPool, sql: &'static str, ids: &[String]) -> usize {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.parse().expect("a UUID")).collect();
    let count: i64 = sqlx::query_scalar(sql)
        .bind(ids)
        .fetch_one(db)
        .await
        .expect("a count");
    usize::try_from(count).expect("a small count")
}
