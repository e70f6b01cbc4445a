//! Starts of many processes at once, or in the wrong order.

use sqlx::PgPool;
use tasker_testkit::{System, eventually};

use crate::harness::{SOON, echo, submit_batch};

#[sqlx::test(migrations = false)]
async fn ten_servers_and_ten_workers_that_start_at_once_on_an_empty_database_come_up_clean(db: PgPool) {
    let system = System::new(&db).with("DB_POOL_SIZE", "2");
    let (servers, workers) = tokio::join!(system.servers(10), system.workers(10));
    let ids = submit_batch(&servers[3], 50).await;
    crate::harness::all_complete_once(&db, &ids).await;
    let (_, answer) = servers[9].get("/workers").await;
    assert_eq!(answer["workers"].as_array().map(Vec::len), Some(10), "{answer}");
    let logs = system.logs();
    assert!(!logs.contains("ERROR"), "{logs}");
    for mut running in servers.into_iter().chain(workers) {
        assert_eq!(running.process.terminate().await.code(), Some(0));
    }
}

#[sqlx::test(migrations = false)]
async fn a_worker_that_comes_before_the_schema_waits_for_it(db: PgPool) {
    let system = System::new(&db);
    let mut worker = system.spawn("tasker-worker", "WORKER_LISTEN_ADDR", &[]);
    eventually("the worker says what it waits for", SOON, async || {
        worker
            .process
            .log()
            .contains("waiting for Postgres to have the schema")
    })
    .await;
    assert!(worker.process.ended().is_none());
    let server = system.server(&[]).await;
    assert!(worker.ready().await);
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
}
