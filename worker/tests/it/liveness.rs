//! Handlers that block every thread of the runtime that they run on (a test's own runtime has one), and
//! claims that get stuck.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tasker_core::task::TaskStatus;
use tasker_store::recover::declare_dead;
use tasker_testkit::{a_task, eventually};
use tasker_worker::{Context, TaskError, TaskType};

use crate::harness::{SOON, System};

const RUNNING: &str = "SELECT count(*) FROM tasks WHERE status = 'running'";
const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND application_name LIKE 'tasker-w-%'";

/// A task type that blocks the runtime for this long.
fn blocks_for(time: Duration) -> TaskType<Value, ()> {
    TaskType::new("blocks", move |_: Context, _: Value| async move {
        thread::sleep(time);
        Ok::<_, TaskError>(())
    })
}

/// Watches the database from a thread that no handler blocks.
fn on_a_thread<F: Future>(
    db: &PgPool,
    watch: impl FnOnce(PgConnection) -> F + Send + 'static,
) -> JoinHandle<F::Output>
where
    F::Output: Send + 'static,
{
    let options = db.connect_options();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async { watch(options.connect().await.expect("a connection")).await })
    })
}

async fn count(db: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.expect("a count")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_whose_handler_blocks_the_runtime_goes_on_beating(db: PgPool) {
    let system = System::new(db);
    let settings = [("heartbeat-interval", "100ms"), ("worker-timeout", "30s")];
    let worker = system.worker(vec![blocks_for(Duration::from_secs(2))], &settings);
    let judge = on_a_thread(&system.db, async |mut db| {
        eventually("the task runs", SOON, async || count(&mut db, RUNNING).await == 1).await;
        let mut dead = Vec::new();
        while count(&mut db, RUNNING).await == 1 {
            dead.extend(declare_dead(&mut db, 1.0).await.expect("an answer"));
        }
        dead
    });
    let id = system.submit(a_task("blocks")).await;
    let task = system.until(id, TaskStatus::Completed).await;
    assert_eq!((task.runs, task.crash_count), (1, 0));
    let dead = judge.join().expect("no panic");
    assert!(dead.is_empty(), "{dead:?} was silent for a second");
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_whose_runtime_does_not_move_for_worker_timeout_closes_its_sessions_until_it_does(
    db: PgPool,
) {
    let system = System::new(db);
    let settings = [("heartbeat-interval", "100ms"), ("worker-timeout", "500ms")];
    let worker = system.worker(vec![blocks_for(Duration::from_secs(4))], &settings);
    let watch = on_a_thread(&system.db, async |mut db| {
        eventually("the task runs", SOON, async || count(&mut db, RUNNING).await == 1).await;
        let mut sessions = Vec::new();
        while count(&mut db, RUNNING).await == 1 {
            sessions.push(count(&mut db, SESSIONS).await);
        }
        sessions.dedup();
        sessions
    });
    let id = system.submit(a_task("blocks")).await;
    let task = system.until(id, TaskStatus::Completed).await;
    assert_eq!((task.runs, task.crash_count), (1, 0), "it was not declared dead");
    let sessions = watch.join().expect("no panic");
    // the first claim may be answered before the first session is open
    let mut since_open = sessions.iter().skip_while(|open| **open == 0);
    assert!(since_open.any(|open| *open == 0), "{sessions:?}");
    let mut other = system.db.acquire().await.expect("a connection");
    eventually("its sessions are back", SOON, async || {
        count(&mut other, SESSIONS).await > 0
    })
    .await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_claim_without_an_answer_is_given_up_and_what_it_took_runs_all_the_same(db: PgPool) {
    let system = System::new(db);
    let settings = [("heartbeat-interval", "200ms")];
    let task = TaskType::new("echo", |_: Context, _: Value| async { Ok::<_, TaskError>(()) });
    let worker = system.worker(vec![task], &settings);
    let first = system.submit(a_task("echo")).await;
    system.until(first, TaskStatus::Completed).await;
    // claims read which queues are paused; heartbeats do not
    let mut lock = system.db.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE queues")
        .execute(&mut *lock)
        .await
        .expect("the lock");
    let id = system.submit(a_task("echo")).await;
    let mut other = system.db.acquire().await.expect("a connection");
    eventually("claims are given up and followed by others", SOON, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'tasker-worker'
                          AND wait_event_type = 'Lock'";
        count(&mut other, waiting).await > 2
    })
    .await;
    lock.commit().await.expect("the lock is given up");
    // the run of the late claim is not in flight, so a heartbeat requeues it
    let task = system.until(id, TaskStatus::Completed).await;
    assert_eq!((task.attempts, task.crash_count), (1, 0));
    worker.stop().await.expect("a clean stop");
}
