//! Cancellation of pending, scheduled and running tasks, and retries of cancelled ones.

use serde_json::json;
use sqlx::{ConnectOptions, PgPool};
use tasker_testkit::{RedisServer, System};

use crate::harness::{Idle, SOON, Small, echo, long_running};

#[sqlx::test(migrations = false)]
async fn what_waits_is_cancelled_at_once_and_never_runs(db: PgPool) {
    let idle = Idle::start(&db).await;
    let server = &idle.server;
    let pending = server.submit(&echo(1)).await;
    let mut later = echo(2);
    later["delay"] = json!(3600);
    let scheduled = server.submit(&later).await;
    for id in [&pending, &scheduled] {
        let (status, answer) = server.post(&format!("/tasks/{id}/cancel"), &json!({})).await;
        assert_eq!(
            (status.as_u16(), &answer["status"]),
            (200, &json!("cancelled")),
            "{answer}"
        );
        let (status, _) = server.post(&format!("/tasks/{id}/cancel"), &json!({})).await;
        assert_eq!(status, 409);
    }
    // the hint of the cancelled task may still be in the list and is skipped
    let _worker = idle.system.worker(&[]).await;
    let after = server.submit(&echo(3)).await;
    server.wait_for(&after, "completed", SOON).await;
    let task = server.task(&pending).await;
    assert_eq!((&task["status"], &task["runs"]), (&json!("cancelled"), &json!(0)));

    let (status, answer) = server.post(&format!("/tasks/{pending}/retry"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let task = server.wait_for(&pending, "completed", SOON).await;
    assert_eq!(task["result"], json!({"n": 1}));
}

#[sqlx::test(migrations = false)]
async fn a_running_task_is_notified_and_ends_cancelled(db: PgPool) {
    let small = Small::start(&db).await;
    let id = small.server.submit(&long_running(600.0)).await;
    small.server.wait_for(&id, "running", SOON).await;
    let (status, answer) = small
        .server
        .post(&format!("/tasks/{id}/cancel"), &json!({}))
        .await;
    assert_eq!(status, 202, "{answer}");
    small.server.wait_for(&id, "cancelled", SOON).await;
    let after = small.server.submit(&echo(1)).await;
    small.server.wait_for(&after, "completed", SOON).await;
}

#[sqlx::test(migrations = false)]
async fn without_redis_a_cancellation_still_reaches_a_running_task(db: PgPool) {
    let mut redis = RedisServer::start().await;
    let database = db.connect_options().to_url_lossy();
    let small = Small::on(System::on(database.as_str(), &redis.url())).await;
    let id = small.server.submit(&long_running(600.0)).await;
    small.server.wait_for(&id, "running", SOON).await;
    redis.stop().await;
    let (status, answer) = small
        .server
        .post(&format!("/tasks/{id}/cancel"), &json!({}))
        .await;
    assert_eq!(status, 202, "{answer}");
    small.server.wait_for(&id, "cancelled", SOON).await;
}
