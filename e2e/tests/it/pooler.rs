//! Workers behind a transaction pooler.

use serde_json::json;
use sqlx::{ConnectOptions, PgPool};
use tasker_testkit::{Pooler, Running, System};

use crate::harness::{SOON, all_complete_once, count, long_running, submit_batch};

/// The number of advisory locks, including the liveness locks of workers.
const LOCKS: &str = "SELECT count(*) FROM pg_locks
                      WHERE locktype = 'advisory' AND objsubid = 1
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
/// The number of live workers that are tracked by heartbeats only.
const WITHOUT_KEY: &str = "SELECT count(*) FROM workers WHERE status = 'alive' AND liveness_key IS NULL";
const ALIVE: &str = "SELECT count(*) FROM workers WHERE status = 'alive'";

async fn pooler(db: &PgPool) -> (Pooler, String) {
    Pooler::before_url(db.connect_options().to_url_lossy().as_str(), 4).await
}

/// Starts a worker that connects to Postgres at `url`.
async fn worker_at(system: &System, url: &str) -> Running {
    system.worker(&[("DATABASE_URL", url)]).await
}

#[sqlx::test(migrations = false)]
async fn a_worker_behind_a_pooler_works_says_so_and_holds_no_lock(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let (_pooler, url) = pooler(&db).await;
    let mut worker = worker_at(&system, &url).await;
    assert!(
        worker
            .process
            .log()
            .contains("Postgres is behind a transaction pooler")
    );
    let ids = submit_batch(&server, 300).await;
    all_complete_once(&db, &ids).await;
    assert_eq!((count(&db, ALIVE).await, count(&db, WITHOUT_KEY).await), (1, 1));
    assert_eq!(count(&db, LOCKS).await, 0);
    assert!(worker.process.terminate().await.success());
    assert!(!worker.process.log().contains("heartbeat failed"));
}

#[sqlx::test(migrations = false)]
async fn the_task_of_a_worker_that_is_killed_behind_a_pooler_runs_elsewhere_once_its_heartbeat_is_overdue(
    db: PgPool,
) {
    let system = System::new(&db)
        .with("HEARTBEAT_INTERVAL", "500ms")
        .with("WORKER_TIMEOUT", "2s");
    let server = system.server(&[]).await;
    let (_pooler, url) = pooler(&db).await;
    let mut victim = worker_at(&system, &url).await;
    let id = server.submit(&long_running(6.0)).await;
    let first = server.wait_for(&id, "running", SOON).await;
    let _direct = system.worker(&[]).await;
    victim.process.kill().await;
    let task = server.wait_for(&id, "completed", SOON).await;
    assert_ne!(task["worker_id"], first["worker_id"]);
    assert_eq!(
        (&task["runs"], &task["attempts"], &task["crash_count"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(first["runs"], 1);
}

#[sqlx::test(migrations = false)]
async fn a_worker_behind_a_pooler_keeps_a_run_that_outlasts_its_timeout(db: PgPool) {
    let system = System::new(&db)
        .with("HEARTBEAT_INTERVAL", "500ms")
        .with("WORKER_TIMEOUT", "2s");
    let server = system.server(&[]).await;
    let (_pooler, url) = pooler(&db).await;
    let _workers = (worker_at(&system, &url).await, worker_at(&system, &url).await);
    let id = server.submit(&long_running(6.0)).await;
    let task = server.wait_for(&id, "completed", SOON).await;
    assert_eq!((&task["runs"], &task["crash_count"]), (&json!(1), &json!(0)));
    assert_eq!(count(&db, WITHOUT_KEY).await, 2);
}
