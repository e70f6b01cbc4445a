//! `tasker`, the command line.

use serde_json::Value;
use sqlx::PgPool;
use tasker_testkit::{System, free_port};

use crate::harness::Small;

/// The exit code and the output of `tasker` with these arguments.
async fn tasker(system: &System, url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = system.run("tasker", arguments, &[("TASKER_URL", url)]);
    (process.wait().await.code(), process.log())
}

#[sqlx::test(migrations = false)]
async fn tasks_are_submitted_awaited_and_shown(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let (code, text) = run(&["task", "submit", "noop", "--wait"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("completed"), "{text}");

    let (code, text) = run(&[
        "task",
        "submit",
        "echo",
        "--params",
        r#"{"a":[1.10]}"#,
        "--wait",
        "--json",
    ])
    .await;
    assert_eq!(code, Some(0), "{text}");
    let task: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&task["status"], &task["result"]),
        (&"completed".into(), &serde_json::json!({"a": [1.1]}))
    );

    let id = task["task_id"].as_str().expect("an id");
    let (code, text) = run(&["task", "get", id]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(id) && text.contains("completed"), "{text}");
}

#[sqlx::test(migrations = false)]
async fn queues_and_workers_are_listed(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let (code, text) = run(&["queue", "list"]).await;
    assert_eq!(code, Some(0), "{text}");
    for queue in ["high_priority", "default", "low_priority"] {
        assert!(text.contains(queue), "{text}");
    }
    let (code, text) = run(&["worker", "status", "--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert!(answer.to_string().contains("worker-"), "{answer}");
    let (code, text) = run(&["worker", "status"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("worker-"), "{text}");
}

#[sqlx::test(migrations = false)]
async fn the_exit_code_tells_what_went_wrong(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let (code, text) = run(&[
        "task",
        "submit",
        "example_failing",
        "--max-retries",
        "0",
        "--wait",
    ])
    .await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("dead_letter"), "{text}");
    let (code, text) = run(&["task", "submit", "nobody_knows"]).await;
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = run(&["task", "get", "0190a5f0-0000-7000-8000-000000000000"]).await;
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = run(&["task", "get", "no-uuid"]).await;
    assert_eq!(code, Some(2), "{text}");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (code, text) = tasker(&small.system, &nobody, &["queue", "list"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&nobody), "{text}");
}
