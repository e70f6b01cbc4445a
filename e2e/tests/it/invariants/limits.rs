//! Invariants of limits: overload is rejected on arrival.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::PgPool;

use super::resident_mib;
use crate::harness::{Idle, rows_of};

/// Number of concurrent requests, each nearly of the maximum size.
const REQUESTS: usize = 400;
const BODY: usize = 900_000;
/// Maximum memory of the server under this load.
const MEMORY_MIB: u64 = 300;

#[sqlx::test(migrations = false)]
async fn invariant_10_a_flood_while_nothing_can_be_written_is_refused_and_takes_no_memory(db: PgPool) {
    let idle = Idle::start(&db).await;
    let server = &idle.server;
    let mut holder = db.acquire().await.expect("a connection").detach();
    let mut lock = holder.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE tasks IN SHARE MODE")
        .execute(&mut *lock)
        .await
        .expect("a lock");
    // one write: the server closes clients that connect and then take seconds to send
    let body = json!({"task_name": "echo", "parameters": {"p": "x".repeat(BODY)}}).to_string();
    let flood = join_all((0..REQUESTS).map(|_| async {
        let request = server
            .http
            .post(format!("{}/tasks/submit", server.url))
            .header("content-type", "application/json")
            .body(body.clone());
        let answer = request.send().await.expect("an answer");
        let retry_after = answer.headers().contains_key("retry-after");
        let (status, answer) = (answer.status().as_u16(), answer.json::<Value>().await);
        (status, retry_after, answer.expect("a body"))
    }));
    let watch = async {
        let (status, _) = server.get("/health/live").await;
        (status, resident_mib(server))
    };
    let (answers, (live, mib)) = tokio::join!(flood, watch);
    assert_eq!(live, 200, "health answers meanwhile");
    lock.rollback().await.expect("the lock ends");
    assert!(mib.max(resident_mib(server)) < MEMORY_MIB, "{mib} MiB are held");
    let refused = answers
        .iter()
        .filter(|(status, ..)| matches!(status, 429 | 503))
        .count();
    assert!(refused > REQUESTS / 2, "{refused} of {REQUESTS} were refused");
    assert!(
        answers
            .iter()
            .all(|(status, retry_after, _)| *status == 202 || *retry_after),
        "a refusal says when to come again"
    );
    let accepted: Vec<String> = answers
        .iter()
        .filter_map(|(_, _, answer)| answer["task_id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(rows_of(&db, &accepted).await, accepted.len());
}
