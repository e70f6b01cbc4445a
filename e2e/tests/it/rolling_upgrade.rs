//! Workers of two releases side by side: some know a task type, some do not yet.

use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Idle, SOON, all_complete_once, count, submit_batch};

#[sqlx::test(migrations = false)]
async fn a_worker_that_does_not_know_a_type_leaves_its_tasks_to_those_that_do(db: PgPool) {
    let idle = Idle::start(&db).await;
    let mut old = idle.system.spawn(
        "custom-worker",
        "WORKER_LISTEN_ADDR",
        &[("TASK_QUEUES", "default")],
    );
    assert!(old.ready().await, "{}", old.process.log());
    let ids = submit_batch(&idle.server, 8).await;
    tasker_testkit::eventually(
        "the worker has met the tasks and put them off",
        SOON,
        async || idle.system.queue().llen("default") == 0,
    )
    .await;
    let runs = "SELECT count(*) FROM tasks WHERE runs > 0 OR status NOT IN ('pending', 'scheduled')";
    assert_eq!(count(&db, runs).await, 0, "nobody could run them");
    let known = idle
        .server
        .submit(&json!({"task_name": "count_primes", "parameters": {"up_to": 100}}))
        .await;
    idle.server.wait_for(&known, "completed", SOON).await;

    let _new = idle.system.worker(&[]).await;
    all_complete_once(&db, &ids).await;
    let clean = "SELECT count(*) FROM finished_tasks WHERE runs > 1 OR crash_count > 0";
    assert_eq!(count(&db, clean).await, 0, "being put off counts as nothing");
}
