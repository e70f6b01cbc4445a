//! Workers die with their tasks.

use serde_json::json;
use sqlx::PgPool;
use tasker_testkit::System;

use crate::harness::SOON;

#[sqlx::test(migrations = false)]
async fn a_task_whose_worker_is_killed_runs_again_elsewhere(db: PgPool) {
    let system = System::new(&db)
        .with("HEARTBEAT_INTERVAL", "500ms")
        .with("WORKER_TIMEOUT", "2s");
    let server = system.server(&[]).await;
    let mut victim = system.worker(&[]).await;
    let body = json!({"task_name": "example_long_running", "parameters": {"duration": 6}});
    let id = server.submit(&body).await;
    server.wait_for(&id, "running", SOON).await;
    victim.process.kill().await;
    let _other = system.worker(&[]).await;
    let task = server.wait_for(&id, "completed", SOON).await;
    assert_eq!(
        (&task["runs"], &task["attempts"], &task["crash_count"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let (_, history) = server.get(&format!("/tasks/{id}/history")).await;
    let lost = |event: &serde_json::Value| event["reason"] == "worker_lost" && event["to"] == "pending";
    assert!(
        history["events"].as_array().expect("events").iter().any(lost),
        "{history}"
    );
}
