//! Recovery from dead workers, and from workers that only seem dead.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System, eventually};

use crate::harness::{SOON, count, long_running};

/// Time until a killed worker's task runs again: about two seconds, with a margin. Far below
/// `WORKER_TIMEOUT`.
const AT_ONCE: Duration = Duration::from_secs(8);
/// The number of liveness locks that workers hold.
const LOCKS: &str = "SELECT count(*) FROM pg_locks
                      WHERE locktype = 'advisory' AND objsubid = 1
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Waits until the leader has seen the locks of this many workers, so that it would detect their loss.
async fn until_watched(server: &Running, workers: usize) {
    let gauge = format!("tasker_workers_watched {workers}");
    eventually("the leader has seen the locks", SOON, async || {
        let text = server.http.get(format!("{}/metrics", server.url)).send().await;
        let text = text.expect("an answer").text().await.expect("text");
        text.lines().any(|line| line == gauge)
    })
    .await;
}

/// Returns the process id in a worker's id.
fn pid_of(id: &Value) -> u32 {
    let pid = id.as_str().and_then(|id| id.rsplit('-').nth(1));
    pid.and_then(|pid| pid.parse().ok())
        .expect("an id with a process id")
}

/// Returns the worker that runs the task, and the others.
fn split_by_holder(task: &Value, workers: Vec<Running>) -> (Running, Vec<Running>) {
    let pid = pid_of(&task["worker_id"]);
    let (mut holder, others): (Vec<_>, Vec<_>) = workers
        .into_iter()
        .partition(|worker| worker.process.pid() == pid);
    (holder.remove(0), others)
}

/// Terminates connections whose application name has this prefix.
async fn cut(db: &PgPool, name: &str) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name LIKE $1";
    let cut: i64 = sqlx::query_scalar(sql)
        .bind(format!("{name}%"))
        .fetch_one(db)
        .await
        .expect("connections can be ended");
    assert!(cut > 0, "nothing is connected as {name}");
}

#[sqlx::test(migrations = false)]
async fn the_task_of_a_worker_that_is_killed_runs_elsewhere_long_before_its_heartbeat_is_overdue(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let workers = system.workers(2).await;
    let id = server.submit(&long_running(600.0)).await;
    let first = server.wait_for(&id, "running", SOON).await;
    let (mut victim, _others) = split_by_holder(&first, workers);
    until_watched(&server, 2).await;
    victim.process.kill().await;
    eventually("another worker runs it", AT_ONCE, async || {
        let task = server.task(&id).await;
        task["runs"] == 2 && task["status"] == "running" && task["worker_id"] != first["worker_id"]
    })
    .await;
    assert_eq!(server.task(&id).await["crash_count"], 1);
}

#[sqlx::test(migrations = false)]
async fn a_worker_that_was_stopped_for_too_long_changes_nothing_late_and_comes_back_under_a_new_id(
    db: PgPool,
) {
    let system = System::new(&db)
        .with("HEARTBEAT_INTERVAL", "1s")
        .with("WORKER_TIMEOUT", "4s");
    let server = system.server(&[]).await;
    let workers = system.workers(2).await;
    let id = server.submit(&long_running(3.0)).await;
    let first = server.wait_for(&id, "running", SOON).await;
    let (mut stopped, _others) = split_by_holder(&first, workers);
    stopped.process.signal("STOP");
    let task = server.wait_for(&id, "completed", SOON).await;
    assert_ne!(task["worker_id"], first["worker_id"]);
    stopped.process.signal("CONT");
    let pid = stopped.process.pid();
    eventually("it is back under a new id", SOON, async || {
        let (_, answer) = server.get("/workers").await;
        let workers = answer["workers"].as_array().expect("workers");
        workers.iter().any(|worker| {
            worker["id"] != first["worker_id"] && pid_of(&worker["id"]) == pid && worker["status"] == "alive"
        })
    })
    .await;
    assert_eq!(server.task(&id).await, task, "a late write changed something");
    assert_eq!(
        (&task["runs"], &task["attempts"], &task["crash_count"]),
        (&json!(2), &json!(1), &json!(1))
    );
}

#[sqlx::test(migrations = false)]
async fn a_worker_whose_liveness_connections_are_cut_keeps_its_task(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let _workers = system.workers(2).await;
    let id = server.submit(&long_running(6.0)).await;
    server.wait_for(&id, "running", SOON).await;
    until_watched(&server, 2).await;
    cut(&db, "tasker-w-").await;
    eventually("the locks are held again", SOON, async || {
        count(&db, LOCKS).await == 2
    })
    .await;
    let task = server.wait_for(&id, "completed", SOON).await;
    assert_eq!((&task["runs"], &task["crash_count"]), (&json!(1), &json!(0)));
}

#[sqlx::test(migrations = false)]
async fn a_fleet_that_loses_its_connections_at_once_keeps_its_tasks(db: PgPool) {
    let system = System::new(&db).with("WORKER_POOL_SIZE", "1");
    let server = system.server(&[]).await;
    let _workers = system.workers(3).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.submit(&long_running(6.0)).await);
    }
    for id in &ids {
        server.wait_for(id, "running", SOON).await;
    }
    until_watched(&server, 3).await;
    cut(&db, "tasker-w").await;
    for id in &ids {
        let task = server.wait_for(id, "completed", SOON).await;
        assert_eq!((&task["runs"], &task["crash_count"]), (&json!(1), &json!(0)));
    }
}

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
    let lost = |event: &Value| event["reason"] == "worker_lost" && event["to"] == "pending";
    assert!(
        history["events"].as_array().expect("events").iter().any(lost),
        "{history}"
    );
}
