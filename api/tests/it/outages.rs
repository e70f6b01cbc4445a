use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use tasker_server::http::body::BodyBudgets;
use tasker_store::migrations::MIGRATOR;

use crate::harness::{Server, eventually};

/// A port without a listener.
const CLOSED: &str = "redis://127.0.0.1:1";

#[sqlx::test(migrator = "MIGRATOR")]
async fn without_redis_submits_go_on(db: PgPool) {
    let server = Server::start_with(db, &[("REDIS_URL", CLOSED)]).await;
    for _ in 0..3 {
        server.submit(json!({"task_name": "noop"})).await;
    }
    let batch = json!({"tasks": [{"task_name": "noop"}]});
    assert_eq!(server.post("/tasks/submit/batch", batch).await.status, 202);
    assert_eq!(server.rows().await, 4);
    let queues = server.get("/queues").await.json();
    assert_eq!(
        (&queues["queues"][1]["depth"], &queues["queues"][1]["pending"]),
        (&json!(null), &json!(4))
    );
    let ready = server.get("/health/ready").await;
    assert_eq!((ready.status, &ready.json()["redis"]), (200, &json!("degraded")));
    assert_eq!(server.get("/health").await.json()["status"], json!("degraded"));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_redis_that_accepts_and_never_answers_counts_as_away(db: PgPool) {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("redis://{}", silent.local_addr().expect("an address"));
    let server = Server::start_with(db, &[("REDIS_URL", &url)]).await;
    let began = Instant::now();
    for _ in 0..20 {
        server.submit(json!({"task_name": "noop"})).await;
    }
    // one command waits for its timeout, the others are skipped
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    drop(silent);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn without_redis_at_all_nothing_is_pushed(db: PgPool) {
    let server = Server::start_with(
        db,
        &[("TASKER_DEPLOYMENT_MODE", "PollingOnly"), ("REDIS_URL", CLOSED)],
    )
    .await;
    server.submit(json!({"task_name": "noop"})).await;
    assert_eq!(
        server.get("/health").await.json(),
        json!({"status": "ok", "postgres": "ok", "redis": "off"})
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn without_postgres_everything_says_when_to_come_again(db: PgPool) {
    let server = Server::start(db.clone()).await;
    db.close().await;
    let submit = server.post("/tasks/submit", json!({"task_name": "noop"})).await;
    let batch = server
        .post("/tasks/submit/batch", json!({"tasks": [{"task_name": "noop"}]}))
        .await;
    let unknown = server
        .post("/tasks/submit", json!({"task_name": "perhaps new"}))
        .await;
    for answer in [
        submit,
        batch,
        unknown,
        server.get("/tasks").await,
        server.get("/queues").await,
    ] {
        assert_eq!(answer.problem(503), "unavailable");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(server.get("/health/ready").await.status, 503);
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(server.get("/health").await.json()["status"], json!("degraded"));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_missing_schema_is_not_ready(db: PgPool) {
    let server = Server::start(db.clone()).await;
    assert_eq!(server.get("/health/ready").await.status, 200);
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&db)
        .await
        .expect("deleted");
    assert_eq!(server.get("/health/ready").await.status, 503);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn bodies_without_room_are_turned_away(db: PgPool) {
    let server = Server::start(db).await;
    let bodies = server.part::<BodyBudgets>();
    let mut held = Vec::new();
    while let Ok(mut room) = bodies.single.begin(None) {
        let _ = room.grow(&bodies.single, 1_000_000);
        held.push(room);
    }
    let answer = server.post("/tasks/submit", json!({"task_name": "noop"})).await;
    assert_eq!(answer.problem(503), "overloaded");
    assert_eq!(answer.headers["retry-after"], "1");
    drop(held);
    eventually(async || {
        let answer = server.post("/tasks/submit", json!({"task_name": "noop"})).await;
        (answer.status == 202).then_some(())
    })
    .await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_client_that_hangs_up_cancels_nothing(db: PgPool) {
    let server = Server::start(db).await;
    let lost = server.post("/tasks/submit", json!({"task_name": "noop"}));
    // polled until the task is on its way, then dropped
    let _ = tokio::time::timeout(Duration::from_micros(1), lost).await;
    server.submit(json!({"task_name": "noop"})).await;
    eventually(async || (server.rows().await == 2).then_some(())).await;
    server.stop().await;
}
