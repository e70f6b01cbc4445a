//! `tasker bench`: holding the workers' slots and releasing them.

use serde_json::Value;
use sqlx::PgPool;
use tasker_testkit::System;

use crate::harness::{Idle, SOON, Small, count, echo};

/// Runs a measurement; returns its rows and its output.
async fn bench(system: &System, url: &str, arguments: &[&str]) -> (Vec<Value>, String) {
    let arguments = [&["bench"], arguments, &["--json"]].concat();
    let mut process = system.run("tasker", &arguments, &[("TASKER_URL", url)]);
    let code = process.wait().await.code();
    let log = process.log();
    assert_eq!(code, Some(0), "{log}");
    let lines = log.lines().find(|line| line.starts_with('[')).expect("JSON");
    (serde_json::from_str(lines).expect("JSON"), log)
}

#[sqlx::test(migrations = false)]
async fn submits_are_measured_while_the_slots_are_held_and_worked_off_then(db: PgPool) {
    let small = Small::start(&db).await;
    for (arguments, tasks) in [
        (["submit", "--connections=4", "--tasks=200"].as_slice(), 200),
        (&["batch", "--size=100", "--tasks=200"], 200),
        (&["drain", "--tasks=1000"], 1_000),
    ] {
        let (lines, log) = bench(&small.system, &small.server.url, arguments).await;
        assert_eq!(
            (&lines[0]["tasks"], &lines[0]["refused"]),
            (&tasks.into(), &0.into()),
            "{log}"
        );
        assert!(
            log.contains("holding 10 slots") && log.contains("releasing the slots"),
            "{log}"
        );
        let early = "SELECT count(*) FROM finished_tasks
                      WHERE task_name = 'noop'
                        AND started_at < (SELECT min(at) FROM task_events WHERE reason = 'cancel_requested')";
        assert_eq!(count(&db, early).await, 0, "{log}");
        assert_eq!(count(&db, "SELECT count(*) FROM tasks").await, 0, "{log}");
        for table in ["DELETE FROM finished_tasks", "DELETE FROM task_events"] {
            sqlx::query(table).execute(&db).await.expect("a fresh start");
        }
    }
    // the slots are free again
    let id = small.server.submit(&echo(1)).await;
    small.server.wait_for(&id, "completed", SOON).await;
}

#[sqlx::test(migrations = false)]
async fn without_a_worker_nothing_is_held_and_what_was_submitted_stays(db: PgPool) {
    let idle = Idle::start(&db).await;
    let arguments = ["submit", "--connections=1,2", "--tasks=20"];
    let (lines, log) = bench(&idle.system, &idle.server.url, &arguments).await;
    assert_eq!(lines.len(), 2, "{log}");
    assert!(!log.contains("holding"), "{log}");
    assert_eq!(
        count(&db, "SELECT count(*) FROM tasks WHERE status = 'pending'").await,
        40
    );
}
