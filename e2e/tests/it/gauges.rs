//! Gauges of the whole system, exported by the leader.

use sqlx::PgPool;
use tasker_testkit::{Running, eventually};

use crate::harness::{Idle, SOON, echo};

async fn shows(server: &Running, line: &str) -> bool {
    let answer = server.http.get(format!("{}/metrics", server.url)).send().await;
    let text = answer.expect("an answer").text().await.expect("text");
    text.lines().any(|shown| shown == line)
}

#[sqlx::test(migrations = false)]
async fn a_queue_without_workers_is_reported_until_one_starts(db: PgPool) {
    let idle = Idle::start(&db).await;
    idle.server.submit(&echo(0)).await;
    for line in [
        "tasker_queues_without_workers 1",
        r#"tasker_queue_depth{queue="default"} 1"#,
        "workers_total 1",
    ] {
        eventually(line, SOON, async || shows(&idle.server, line).await).await;
    }
    let _worker = idle.system.worker(&[]).await;
    let line = "tasker_queues_without_workers 0";
    eventually(line, SOON, async || shows(&idle.server, line).await).await;
}
