//! Clean and hard stops while tasks are submitted and run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool};
use tasker_testkit::{Proxy, Running, System, eventually};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::harness::{Idle, SOON, Small, all_complete_once, count, id_of, long_running, rows_of};

/// Maximum time after a second signal: 2 seconds to release runs, with a margin for a busy machine.
const MOMENTS: Duration = Duration::from_secs(10);

/// Clients that submit until they are stopped or the server is gone.
struct Clients {
    acknowledged: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    fn start(server: &Running, count: usize, body: &Value) -> Self {
        let mut clients = Self {
            acknowledged: Arc::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for _ in 0..count {
            let request = server
                .http
                .post(format!("{}/tasks/submit", server.url))
                .json(body);
            let (acknowledged, stop) = (Arc::clone(&clients.acknowledged), Arc::clone(&clients.stop));
            clients.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let request = request.try_clone().expect("a body in memory");
                    let Ok(answer) = request.send().await else { return };
                    if answer.status() != 202 {
                        return;
                    }
                    // a response cut off after its head is an acknowledgement without a readable id
                    let Ok(submitted) = answer.json::<Value>().await else {
                        return;
                    };
                    acknowledged.lock().await.push(id_of(&submitted));
                }
            });
        }
        clients
    }

    async fn have_submitted(&self, count: usize) {
        let what = format!("{count} tasks are submitted");
        eventually(&what, SOON, async || {
            self.acknowledged.lock().await.len() >= count
        })
        .await;
    }

    /// Waits for the clients to end and returns the acknowledged ids.
    async fn end(mut self) -> Vec<String> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no client panics");
        }
        std::mem::take(&mut *self.acknowledged.lock().await)
    }
}

#[sqlx::test(migrations = false)]
async fn a_stop_of_the_server_and_of_the_worker_under_load_loses_nothing_and_repeats_nothing(db: PgPool) {
    let mut idle = Idle::start(&db).await;
    // two slots cannot keep up with eight clients, so the stop finds pending tasks
    let slow = [("SHUTDOWN_TIMEOUT", "1s"), ("WORKER_POOL_SIZE", "2")];
    let mut worker = idle.system.worker(&slow).await;
    let clients = Clients::start(&idle.server, 8, &long_running(0.05));
    clients.have_submitted(200).await;
    worker.process.signal("TERM");
    assert_eq!(idle.server.process.terminate().await.code(), Some(0));
    assert_eq!(worker.process.wait().await.code(), Some(0));
    let ids = clients.end().await;
    assert_eq!(
        count(&db, "SELECT count(*) FROM tasks WHERE status = 'running'").await,
        0
    );
    assert!(
        count(&db, "SELECT count(*) FROM tasks").await > 0,
        "the worker was stopped before it was done"
    );

    let _server = idle.system.server(&[]).await;
    let _worker = idle.system.worker(&[("WORKER_POOL_SIZE", "64")]).await;
    all_complete_once(&db, &ids).await;
    assert_eq!(
        count(&db, "SELECT count(*) FROM finished_tasks WHERE crash_count > 0").await,
        0
    );
}

#[sqlx::test(migrations = false)]
async fn runs_that_outlast_a_stop_are_released_and_start_again(db: PgPool) {
    let idle = Idle::start(&db).await;
    let mut worker = idle.system.worker(&[("SHUTDOWN_TIMEOUT", "100ms")]).await;
    let id = idle.server.submit(&long_running(3.0)).await;
    idle.server.wait_for(&id, "running", SOON).await;
    assert_eq!(worker.process.terminate().await.code(), Some(0));
    let task = idle.server.task(&id).await;
    assert_eq!(
        (&task["status"], &task["attempts"]),
        (&"pending".into(), &0.into())
    );
    let _worker = idle.system.worker(&[]).await;
    let task = idle.server.wait_for(&id, "completed", SOON).await;
    assert_eq!(
        (&task["runs"], &task["attempts"], &task["crash_count"]),
        (&2.into(), &1.into(), &0.into())
    );
}

#[sqlx::test(migrations = false)]
async fn what_was_acknowledged_before_the_server_was_killed_exists_and_runs(db: PgPool) {
    let mut idle = Idle::start(&db).await;
    let clients = Clients::start(&idle.server, 16, &crate::harness::echo(1));
    clients.have_submitted(200).await;
    idle.server.process.kill().await;
    let ids = clients.end().await;
    assert_eq!(rows_of(&db, &ids).await, ids.len());
    let _server = idle.system.server(&[]).await;
    let _worker = idle.system.worker(&[("WORKER_POOL_SIZE", "64")]).await;
    all_complete_once(&db, &ids).await;
}

#[sqlx::test(migrations = false)]
async fn a_handler_that_never_returns_does_not_block_a_stop(db: PgPool) {
    let system = System::new(&db).with("SHUTDOWN_TIMEOUT", "100ms");
    let server = system.server(&[]).await;
    let mut worker = system.spawn("stuck-worker", "WORKER_LISTEN_ADDR", &[]);
    assert!(worker.ready().await, "{}", worker.process.log());
    let id = server.submit(&json!({"task_name": "stuck"})).await;
    server.wait_for(&id, "running", SOON).await;
    let ended = tokio::time::timeout(SOON, worker.process.terminate()).await;
    assert_eq!(ended.expect("the worker ends").code(), Some(0));
    let task = server.task(&id).await;
    assert_eq!(
        (&task["status"], &task["attempts"]),
        (&json!("pending"), &json!(0))
    );
}

#[sqlx::test(migrations = false)]
async fn a_second_signal_releases_what_a_worker_runs_and_ends_it_at_once(db: PgPool) {
    // longer than this test takes, so that the run is released and not recovered
    let system = System::new(&db)
        .with("WORKER_TIMEOUT", "10m")
        .with("SHUTDOWN_TIMEOUT", "1h");
    let mut small = Small::on(system).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(small.server.submit(&long_running(2.0)).await);
    }
    for id in &ids {
        small.server.wait_for(id, "running", SOON).await;
    }
    small.worker.process.signal("TERM");
    eventually("the worker handles the first signal", SOON, async || {
        small.worker.process.log().contains("claiming has stopped")
    })
    .await;
    assert_eq!(small.worker.process.terminate().await.code(), Some(1));
    for id in &ids {
        let task = small.server.task(id).await;
        assert_eq!(
            (&task["status"], &task["attempts"], &task["crash_count"]),
            (&json!("pending"), &json!(0), &json!(0))
        );
    }
    let _other = small.system.worker(&[]).await;
    for id in &ids {
        let task = small.server.wait_for(id, "completed", SOON).await;
        assert_eq!(
            (&task["runs"], &task["attempts"], &task["crash_count"]),
            (&json!(2), &json!(1), &json!(0))
        );
    }
}

#[sqlx::test(migrations = false)]
async fn a_second_signal_ends_a_worker_within_moments_though_postgres_hangs(db: PgPool) {
    let (postgres, url) = Proxy::before_url(db.connect_options().to_url_lossy().as_str()).await;
    let system = System::new(&db)
        .with("HEARTBEAT_INTERVAL", "500ms")
        .with("WORKER_TIMEOUT", "2s")
        .with("SHUTDOWN_TIMEOUT", "1h");
    let server = system.server(&[]).await;
    let mut worker = system.worker(&[("DATABASE_URL", &url)]).await;
    let id = server.submit(&long_running(2.0)).await;
    server.wait_for(&id, "running", SOON).await;
    postgres.hang();
    worker.process.signal("TERM");
    eventually("the worker handles the first signal", SOON, async || {
        worker.process.log().contains("received a stop signal")
    })
    .await;
    let ended = tokio::time::timeout(MOMENTS, worker.process.terminate()).await;
    assert_eq!(ended.expect("it ends").code(), Some(1));
    drop(postgres);
    let _other = system.worker(&[]).await;
    server.wait_for(&id, "completed", SOON).await;
}
