//! Restore: Postgres has all state, so a dump and an empty Redis are sufficient.

use std::process::Command;

use serde_json::json;
use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_testkit::{PostgresServer, System, eventually, redis_url};

use crate::harness::{SOON, all_complete_once, long_running, rows_of, submit_batch};

/// Waits for a program and asserts that it succeeds.
fn run(command: &mut Command) {
    let output = command
        .output()
        .expect("Postgres's client programs are installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Returns a system that detects dead workers quickly.
fn system(database_url: &str) -> System {
    System::on(database_url, &redis_url())
        .with("HEARTBEAT_INTERVAL", "1s")
        .with("WORKER_TIMEOUT", "3s")
        .with("LEADER_TERM", "5s")
}

#[tokio::test]
async fn a_restored_dump_fills_the_lists_again_and_loses_nothing() {
    let postgres = PostgresServer::start().await;
    let before = system(&postgres.url());
    let dump = before.folder().join("tasker.dump");
    let server = before.server(&[]).await;
    let worker = before.worker(&[("WORKER_POOL_SIZE", "1")]).await;
    let done = server.submit(&json!({"task_name": "echo"})).await;
    server.wait_for(&done, "completed", SOON).await;
    let running = server.submit(&long_running(600.0)).await;
    server.wait_for(&running, "running", SOON).await;
    let waiting = submit_batch(&server, 50).await;
    run(Command::new("pg_dump")
        .args(["--format=custom", "--file"])
        .arg(&dump)
        .args(["--dbname", &postgres.url()]));
    drop((server, worker));

    let db = PgPool::connect(&postgres.url()).await.expect("a connection");
    sqlx::query("CREATE DATABASE restored")
        .execute(&db)
        .await
        .expect("a database");
    let url = postgres.url().replace("/postgres", "/restored");
    run(Command::new("pg_restore")
        .args(["--exit-on-error", "--no-owner", "--dbname", &url])
        .arg(&dump));

    // a new key prefix is equivalent to an empty Redis
    let after = system(&url);
    let server = after.server(&[]).await;
    let queues = [QueueName::default_class()];
    eventually("the list is as long as what waits", SOON, async || {
        let depths = after.queue().depths(&queues).await.expect("Redis answers");
        depths[0] >= 50
    })
    .await;
    let _worker = after.worker(&[]).await;
    let copy = PgPool::connect(&url).await.expect("a connection");
    all_complete_once(&copy, &waiting).await;
    let again = server.wait_for(&running, "running", SOON).await;
    assert_eq!(
        again["attempts"], 0,
        "its worker was lost, it did not fail: {again}"
    );
    assert_eq!(server.task(&done).await["status"], "completed");
    assert_eq!(rows_of(&copy, &[done, running]).await, 2);
    copy.close().await;
}
