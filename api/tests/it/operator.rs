use axum::http::Method;
use serde_json::json;
use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_core::task::retry::DeadLetterReason;
use tasker_store::end_runs::Verdict;
use tasker_store::migrations::MIGRATOR;

use crate::harness::Server;

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_task_that_waits_is_cancelled_at_once_and_only_once(db: PgPool) {
    let server = Server::start(db).await;
    for body in [
        json!({"task_name": "noop"}),
        json!({"task_name": "noop", "delay": "1h"}),
    ] {
        let id = server.submit(body).await;
        let answer = server.post(&format!("/tasks/{id}/cancel"), "").await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &json!("cancelled")),
            "{}",
            answer.text
        );
        assert_eq!(answer.id(), id);
        let again = server.call(Method::DELETE, &format!("/tasks/{id}")).await;
        assert_eq!(again.problem(409), "already_over");
        assert_eq!(
            server.get(&format!("/tasks/{id}")).await.json()["status"],
            json!("cancelled")
        );
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_running_task_is_told_to_stop(db: PgPool) {
    let server = Server::start(db).await;
    let id = server.submit(json!({"task_name": "noop"})).await;
    let (worker, run) = server.run(id).await;
    let answer = server.call(Method::DELETE, &format!("/tasks/{id}")).await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (202, &json!("running")),
        "{}",
        answer.text
    );
    // whatever its handler returns
    let success = tasker_store::complete::Success {
        run,
        result: "1".into(),
        progress: None,
    };
    tasker_store::complete::complete(&server.db, &worker, &[success])
        .await
        .expect("ended");
    assert_eq!(
        server.get(&format!("/tasks/{id}?wait=5")).await.json()["status"],
        json!("cancelled")
    );
    assert_eq!(
        server.post(&format!("/tasks/{id}/cancel"), "").await.problem(409),
        "already_over"
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_dead_letter_and_a_cancelled_task_run_again(db: PgPool) {
    let server = Server::start(db).await;
    let dead = server.submit(json!({"task_name": "noop", "queue": "high"})).await;
    server
        .fail(dead, Verdict::DeadLetter(DeadLetterReason::Failed))
        .await;
    let cancelled = server.submit(json!({"task_name": "noop", "queue": "high"})).await;
    server.post(&format!("/tasks/{cancelled}/cancel"), "").await;
    for id in [dead, cancelled] {
        let before = server.depth(&QueueName::high()).await;
        let answer = server.post(&format!("/tasks/{id}/retry"), "").await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &json!("pending")),
            "{}",
            answer.text
        );
        assert_eq!(server.depth(&QueueName::high()).await, before + 1);
        assert_eq!(
            server.post(&format!("/tasks/{id}/retry"), "").await.problem(409),
            "not_retryable"
        );
        server.finish(id, "1").await;
        assert_eq!(
            server.post(&format!("/tasks/{id}/retry"), "").await.problem(409),
            "not_retryable"
        );
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_retry_is_refused_while_another_task_holds_the_key(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let body = json!({"task_name": "noop", "idempotency_key": "k"});
    let old = server.submit(body.clone()).await;
    server.post(&format!("/tasks/{old}/cancel"), "").await;
    sqlx::query("UPDATE task_keys SET expires_at = now() - interval '1 second'")
        .execute(&db)
        .await
        .expect("expired");
    let new = server.submit(body).await;
    let answer = server.post(&format!("/tasks/{old}/retry"), "").await;
    assert_eq!(answer.problem(409), "idempotency_key_taken");
    assert!(answer.text.contains(&new.to_string()), "{}", answer.text);
    server.stop().await;
}
