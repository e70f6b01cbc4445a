//! Invariants of the source of truth: rows, states, one clock.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool};
use tasker_core::task::TaskId;
use tasker_testkit::{RedisServer, System};
use uuid::Uuid;

use super::number;
use crate::harness::{Idle, SOON, Small, all_complete_once, count, echo, long_running, submit_batch};

#[sqlx::test(migrations = false)]
async fn invariant_01_hints_may_be_lost_doubled_and_disordered_and_every_task_runs_once(db: PgPool) {
    let idle = Idle::start(&db).await;
    let ids = submit_batch(&idle.server, 90).await;
    let queue = idle.system.queue();
    let list = format!("{}default", queue.config().key_prefix);
    queue.delete_all();
    // a third of the tasks has no hint, the others have three each, in the wrong order and mixed with hints
    // of no task
    for _ in 0..3 {
        for id in &ids[30..] {
            queue.raw("LPUSH", &[&list, id]);
        }
        queue.raw("LPUSH", &[&list, &TaskId::generate().to_string(), "no id at all"]);
    }
    let _worker = idle.system.worker(&[]).await;
    all_complete_once(&db, &ids).await;
}

#[sqlx::test(migrations = false)]
async fn invariant_02_what_was_accepted_is_committed_durably_though_its_push_fails(db: PgPool) {
    let mut redis = RedisServer::start().await;
    let database = db.connect_options().to_url_lossy();
    let idle = Idle::on(System::on(database.as_str(), &redis.url())).await;
    redis.stop().await;
    // the server requests a durable commit, whatever the setting of the database
    let spy = "ALTER DATABASE CURRENT SET synchronous_commit = off";
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&db)
        .await
        .expect("a name");
    let spy = spy.replace("CURRENT", &format!("\"{name}\""));
    sqlx::raw_sql(sqlx::AssertSqlSafe(spy))
        .execute(&db)
        .await
        .expect("set");
    sqlx::raw_sql(
        "CREATE TABLE commits (setting text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO commits VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON tasks FOR EACH STATEMENT EXECUTE FUNCTION note();",
    )
    .execute(&db)
    .await
    .expect("a trigger");
    let id = idle.server.submit(&echo(1)).await;
    assert_eq!(idle.server.task(&id).await["status"], "pending");
    let lazy = "SELECT count(*) FROM commits WHERE setting <> 'on'";
    assert_eq!(count(&db, "SELECT count(*) FROM commits").await, 1);
    assert_eq!(count(&db, lazy).await, 0, "the commit was not a durable one");
}

#[sqlx::test(migrations = false)]
async fn invariant_03_of_many_concurrent_changes_of_a_state_one_wins(db: PgPool) {
    let idle = Idle::start(&db).await;
    let other = idle.system.server(&[]).await;
    for action in ["cancel", "retry"] {
        let id = idle.server.submit(&echo(1)).await;
        if action == "retry" {
            idle.server.post(&format!("/tasks/{id}/cancel"), &json!({})).await;
        }
        let path = format!("/tasks/{id}/{action}");
        let (path, body) = (path.as_str(), json!({}));
        let answers = join_all((0..20).map(|turn| {
            let server = if turn % 2 == 0 { &idle.server } else { &other };
            let body = &body;
            async move { server.post(path, body).await.0.as_u16() }
        }))
        .await;
        let count = |status: u16| answers.iter().filter(|answer| **answer == status).count();
        assert_eq!((count(200), count(409)), (1, 19), "{action}: {answers:?}");
    }
}

#[sqlx::test(migrations = false)]
async fn invariant_06_a_run_of_a_worker_whose_death_was_missed_is_recovered(db: PgPool) {
    let idle = Idle::start(&db).await;
    let ids = submit_batch(&idle.server, 2).await;
    let both: Vec<Uuid> = ids.iter().map(|id| id.parse().expect("a UUID")).collect();
    // one worker's row is deleted, the other's is dead: no event will report either
    sqlx::query(
        "WITH dead AS (INSERT INTO workers (id, hostname, pid, version, queues, task_names, pool_size, status)
                       VALUES ('dead', '', 1, '', '{default}', '{echo}', 1, 'dead'))
         UPDATE tasks SET status = 'running', runs = 1, started_at = now(),
                          worker_id = CASE WHEN id = $1 THEN 'dead' ELSE 'unknown' END
          WHERE id = ANY ($2)",
    )
    .bind(both[0])
    .bind(&both)
    .execute(&db)
    .await
    .expect("an update");
    let _worker = idle.system.worker(&[]).await;
    all_complete_once(&db, &ids).await;
    let lost = "SELECT count(*) FROM finished_tasks WHERE crash_count = 1 AND runs = 2";
    assert_eq!(count(&db, lost).await, 2);
}

#[sqlx::test(migrations = false)]
async fn invariant_07_a_crash_is_not_an_attempt_and_a_released_run_is_neither(db: PgPool) {
    let system = System::new(&db)
        .with("HEARTBEAT_INTERVAL", "500ms")
        .with("WORKER_TIMEOUT", "2s")
        .with("SHUTDOWN_TIMEOUT", "1s");
    let mut small = Small::on(system).await;
    let mut body = long_running(3.0);
    body["max_retries"] = json!(0);
    let id = small.server.submit(&body).await;
    let counted = |task: &Value| ["runs", "attempts", "crash_count"].map(|field| number(task, field));

    small.server.wait_for(&id, "running", SOON).await;
    small.worker.process.terminate().await;
    let task = small.server.wait_for(&id, "pending", SOON).await;
    assert_eq!(counted(&task), [1, 0, 0], "it was released");

    let mut victim = small.system.worker(&[]).await;
    small.server.wait_for(&id, "running", SOON).await;
    victim.process.kill().await;
    let task = small.server.wait_for(&id, "pending", SOON).await;
    assert_eq!(counted(&task), [2, 0, 1], "its worker died");

    let _last = small.system.worker(&[]).await;
    let task = small.server.wait_for(&id, "completed", SOON).await;
    assert_eq!(counted(&task), [3, 1, 1]);
}

#[test]
fn invariant_08_no_process_clock_is_read_where_states_are_decided() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bans = std::fs::read_to_string(root.join("clippy.toml")).expect("clippy.toml");
    for clock in ["chrono::Utc::now", "std::time::SystemTime::now"] {
        assert!(
            bans.contains(clock),
            "clippy.toml bans {clock}, so that each use gives its reason"
        );
    }
    let store = root.join("shared/store/src");
    let files = rust_files(&store);
    assert!(files.len() > 30, "all SQL is in {}", store.display());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("text");
        for clock in ["Utc::now", "SystemTime::now"] {
            assert!(!text.contains(clock), "{} reads {clock}", path.display());
        }
    }
}

/// Returns the source files below `folder`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                rust_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
