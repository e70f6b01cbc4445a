//! Restart and crash of Postgres under a running fleet.

use serde_json::json;
use tasker_testkit::{PostgresServer, System, redis_url};

use crate::harness::{SOON, Small, long_running};

#[tokio::test]
async fn workers_that_live_keep_their_tasks_over_a_restart_of_postgres_and_over_a_crash() {
    let mut postgres = PostgresServer::start().await;
    let small = Small::on(System::on(&postgres.url(), &redis_url())).await;
    for crash in [false, true] {
        let id = small.server.submit(&long_running(6.0)).await;
        small.server.wait_for(&id, "running", SOON).await;
        if crash {
            postgres.crash().await;
        } else {
            postgres.stop().await;
        }
        postgres.restart().await;
        // a read may return 503 during the restart
        tasker_testkit::eventually("the task has ended", SOON, async || {
            let (_, task) = small.server.get(&format!("/tasks/{id}")).await;
            task["status"] == "completed"
        })
        .await;
        let task = small.server.task(&id).await;
        assert_eq!(
            (&task["runs"], &task["crash_count"]),
            (&json!(1), &json!(0)),
            "crash: {crash}"
        );
    }
}
