//! Batch submits end to end.

use sqlx::PgPool;

use crate::harness::{Small, all_complete_once, count, submit_batch};

#[sqlx::test(migrations = false)]
async fn a_batch_of_a_thousand_runs_through_and_every_result_is_stored_once(db: PgPool) {
    let small = Small::on(tasker_testkit::System::new(&db).with("WORKER_POOL_SIZE", "64")).await;
    let ids = submit_batch(&small.server, 1_000).await;
    all_complete_once(&db, &ids).await;
    assert_eq!(count(&db, "SELECT count(*) FROM finished_tasks").await, 1_000);
    assert_eq!(
        count(&db, "SELECT count(DISTINCT result->>'n') FROM finished_tasks").await,
        1_000
    );
    assert_eq!(count(&db, "SELECT count(*) FROM tasks").await, 0);
    for queue in ["high_priority", "default", "low_priority"] {
        assert_eq!(small.system.queue().llen(queue), 0, "{queue}");
    }
}
