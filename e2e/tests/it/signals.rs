//! The signals that a process handles.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System, eventually};

use crate::harness::{SOON, Small, echo, long_running};

/// Sends a signal and waits until the process logs that it ignored it.
async fn is_ignored(running: &mut Running, signal: &str) {
    running.process.signal(signal);
    let line = format!("SIG{signal}");
    eventually(&format!("{signal} is ignored"), SOON, async || {
        let log = running.process.log();
        log.lines()
            .any(|text| text.contains(&line) && text.contains("ignored a signal"))
    })
    .await;
}

async fn status_of(worker: &Running) -> Value {
    worker.get("/status").await.1
}

#[sqlx::test(migrations = false)]
async fn signals_that_ask_for_nothing_end_neither_a_server_nor_a_worker(db: PgPool) {
    let mut small = Small::start(&db).await;
    for signal in ["HUP", "USR1", "USR2"] {
        is_ignored(&mut small.server, signal).await;
    }
    for signal in ["HUP", "USR2"] {
        is_ignored(&mut small.worker, signal).await;
    }
    let id = small.server.submit(&echo(1)).await;
    small.server.wait_for(&id, "completed", SOON).await;
    assert_eq!(small.worker.process.terminate().await.code(), Some(0));
    assert_eq!(small.server.process.terminate().await.code(), Some(0));
}

#[sqlx::test(migrations = false)]
async fn sigquit_stops_as_sigterm_does(db: PgPool) {
    let mut small = Small::start(&db).await;
    let id = small.server.submit(&long_running(1.0)).await;
    small.server.wait_for(&id, "running", SOON).await;
    small.worker.process.signal("QUIT");
    assert_eq!(small.worker.process.wait().await.code(), Some(0));
    let task = small.server.task(&id).await;
    assert_eq!(
        (&task["status"], &task["runs"], &task["crash_count"]),
        (&json!("completed"), &json!(1), &json!(0))
    );
    small.server.process.signal("QUIT");
    assert_eq!(small.server.process.wait().await.code(), Some(0));
}

#[sqlx::test(migrations = false)]
async fn a_quiet_worker_finishes_what_it_runs_and_takes_nothing_more(db: PgPool) {
    let mut small = Small::start(&db).await;
    assert_eq!(status_of(&small.worker).await["quiet"], false);
    let running = small.server.submit(&long_running(2.0)).await;
    small.server.wait_for(&running, "running", SOON).await;
    small.worker.process.signal("USR1");
    eventually("the worker is quiet", SOON, async || {
        status_of(&small.worker).await["quiet"] == true
    })
    .await;
    let waiting = small.server.submit(&echo(1)).await;
    small.server.wait_for(&running, "completed", SOON).await;
    eventually("the fleet knows it", SOON, async || {
        let (_, answer) = small.server.get("/workers").await;
        answer["workers"][0]["status"] == "draining"
    })
    .await;
    let status = status_of(&small.worker).await;
    assert_eq!(
        (&status["quiet"], &status["stopping"]),
        (&json!(true), &json!(false))
    );
    let (code, answer) = small.worker.get("/health/ready").await;
    assert_eq!((code.as_u16(), &answer["quiet"]), (503, &json!(true)));
    // repeating the signal has no effect
    small.worker.process.signal("USR1");
    let task = small.server.task(&waiting).await;
    assert_eq!((&task["status"], &task["runs"]), (&json!("pending"), &json!(0)));

    let other = small.system.worker(&[]).await;
    small.server.wait_for(&waiting, "completed", SOON).await;
    assert_eq!(status_of(&small.worker).await["active"], 0);
    assert_eq!(small.worker.process.terminate().await.code(), Some(0));
    drop(other);
}

#[sqlx::test(migrations = false)]
async fn a_quiet_worker_without_redis_takes_nothing_from_the_table_either(db: PgPool) {
    let system = System::new(&db)
        .with("TASKER_DEPLOYMENT_MODE", "PollingOnly")
        .with("WORKER_POOL_SIZE", "1")
        .with("CLAIM_INTERVAL", "100ms");
    let mut small = Small::on(system).await;
    let running = small.server.submit(&long_running(1.0)).await;
    let waiting = small.server.submit(&echo(1)).await;
    small.server.wait_for(&running, "running", SOON).await;
    small.worker.process.signal("USR1");
    small.server.wait_for(&running, "completed", SOON).await;
    // the slot is free, and the worker keeps running
    eventually("the fleet knows it", SOON, async || {
        let (_, answer) = small.server.get("/workers").await;
        answer["workers"][0]["status"] == "draining"
    })
    .await;
    assert_eq!(status_of(&small.worker).await["active"], 0);
    assert_eq!(small.server.task(&waiting).await["status"], "pending");
    assert_eq!(small.worker.process.terminate().await.code(), Some(0));
}
