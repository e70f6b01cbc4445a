//! Task logs of workers.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System, eventually};

use crate::harness::{SOON, Small, all_complete_once, submit_batch};

/// A marker that no log line may contain.
const MARK: &str = "xyzzy-payload";

fn system(db: &PgPool, task_log: &str) -> System {
    System::new(db)
        .with("LOG_FORMAT", "json")
        .with("TASK_LOG", task_log)
}

/// Returns the log lines of `worker` about `task` in order.
fn lines(worker: &Running, task: &str) -> Vec<Value> {
    let log = worker.process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["span"]["task_id"] == task)
        .collect()
}

/// Waits until there are this many lines about `task`.
async fn until_logged(worker: &Running, task: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines about {task}"), SOON, async || {
        lines(worker, task).len() >= count
    })
    .await;
    let lines = lines(worker, task);
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

/// Returns level and message of each line.
fn events(lines: &[Value]) -> Vec<(&str, &str)> {
    fn text<'a>(line: &'a Value, field: &str) -> &'a str {
        line.get(field).and_then(Value::as_str).unwrap_or_default()
    }
    let events = lines
        .iter()
        .map(|line| (text(line, "level"), text(line, "message")));
    events.collect()
}

#[sqlx::test(migrations = false)]
async fn a_run_is_logged_from_start_to_end_within_the_span_of_its_task(db: PgPool) {
    let small = Small::on(system(&db, "all")).await;
    let echo = json!({"task_name": "echo", "parameters": {"p": MARK}, "correlation_id": "order-7"});
    let id = small.server.submit(&echo).await;
    let lines = until_logged(&small.worker, &id, 2).await;
    assert_eq!(
        events(&lines),
        [("INFO", "task started"), ("INFO", "task completed")]
    );
    for line in &lines {
        assert_eq!(line["component"], "[WORKER]");
        assert_eq!(line["span"]["name"], "task");
        assert_eq!(line["span"]["task_name"], "echo");
        assert_eq!(line["span"]["run"], 1);
        assert_eq!(line["span"]["correlation_id"], "order-7");
    }
    assert!(lines[1]["seconds"].as_f64().is_some_and(|seconds| seconds < 60.0));

    let failing =
        json!({"task_name": "example_failing", "parameters": {"error_message": MARK}, "max_retries": 1});
    let id = small.server.submit(&failing).await;
    let lines = until_logged(&small.worker, &id, 4).await;
    assert_eq!(
        events(&lines),
        [
            ("INFO", "task started"),
            ("WARN", "attempt failed"),
            ("INFO", "task started"),
            ("ERROR", "dead letter"),
        ]
    );
    let (failed, dead) = (&lines[1], &lines[3]);
    assert_eq!(
        (&failed["failure"], &failed["attempt"]),
        (&json!("failed"), &json!(1))
    );
    assert!(
        failed["retry_at"].is_string() && failed["retry_in_seconds"].is_number(),
        "{failed}"
    );
    assert_eq!(
        (&dead["reason"], &dead["attempt"]),
        (&json!("exhausted"), &json!(2))
    );
    assert_eq!(
        (&dead["span"]["run"], &dead["max_attempts"]),
        (&json!(2), &json!(2))
    );

    let slow = json!({"task_name": "example_long_running", "max_retries": 0, "timeout": 1});
    let id = small.server.submit(&slow).await;
    let lines = until_logged(&small.worker, &id, 2).await;
    assert_eq!(
        (&lines[1]["reason"], &lines[1]["failure"]),
        (&json!("timeout"), &json!("timeout"))
    );

    let cancelled = small
        .server
        .submit(&json!({"task_name": "example_long_running"}))
        .await;
    small.server.wait_for(&cancelled, "running", SOON).await;
    small
        .server
        .post(&format!("/tasks/{cancelled}/cancel"), &json!({}))
        .await;
    let lines = until_logged(&small.worker, &cancelled, 2).await;
    assert_eq!(events(&lines)[1], ("INFO", "task cancelled"));
    assert!(!small.system.logs().contains(MARK));
}

#[sqlx::test(migrations = false)]
async fn failures_leaves_out_what_succeeds_and_off_leaves_out_all(db: PgPool) {
    for (task_log, levels) in [("failures", vec!["WARN", "ERROR"]), ("off", vec![])] {
        let mut small = Small::on(system(&db, task_log)).await;
        let failing = json!({"task_name": "example_failing", "max_retries": 1});
        let ids = [
            small.server.submit(&json!({"task_name": "echo"})).await,
            small.server.submit(&failing).await,
        ];
        small.server.wait_for(&ids[0], "completed", SOON).await;
        small.server.wait_for(&ids[1], "dead_letter", SOON).await;
        assert_eq!(small.worker.process.terminate().await.code(), Some(0));
        assert_eq!(lines(&small.worker, &ids[0]), Vec::<Value>::new(), "{task_log}");
        let logged = lines(&small.worker, &ids[1]);
        let logged: Vec<_> = events(&logged).iter().map(|(level, _)| *level).collect();
        assert_eq!(logged, levels, "{task_log}");
    }
}

#[sqlx::test(migrations = false)]
async fn under_load_a_line_counts_the_lines_that_were_left_out(db: PgPool) {
    let mut small = Small::on(system(&db, "all")).await;
    let ids = submit_batch(&small.server, 2_000).await;
    all_complete_once(&db, &ids).await;
    assert_eq!(small.worker.process.terminate().await.code(), Some(0));
    let log = small.worker.process.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.collect();
    let written = lines
        .iter()
        .filter(|line| line["span"]["task_id"].is_string())
        .count();
    let left_out = lines.iter().filter_map(|line| line["left_out"].as_u64());
    let left_out = usize::try_from(left_out.sum::<u64>()).expect("a small count");
    assert!(left_out > 0, "{log}");
    assert_eq!(written + left_out, 2 * ids.len());
}

#[sqlx::test(migrations = false)]
async fn a_panic_is_logged_with_its_place_and_without_its_message(db: PgPool) {
    let system = system(&db, "failures");
    let server = system.server(&[]).await;
    let mut worker = system.spawn("stuck-worker", "WORKER_LISTEN_ADDR", &[]);
    assert!(worker.ready().await, "{}", worker.process.log());
    let panics = json!({"task_name": "panics", "parameters": {"p": MARK}, "max_retries": 0});
    let id = server.submit(&panics).await;
    let lines = until_logged(&worker, &id, 1).await;
    assert_eq!(events(&lines), [("ERROR", "dead letter")]);
    assert_eq!(lines[0]["failure"], "panicked");
    let place = lines[0]["panicked_at"].as_str().expect("a place");
    let (file, line) = place.split_once(':').expect("file:line");
    assert!(file.ends_with("stuck_worker.rs"), "{place}");
    assert!(line.parse::<u32>().is_ok(), "{place}");
    let task = server.task(&id).await;
    let error = task["error"].as_str().expect("an error");
    assert!(error.contains(place) && error.contains(MARK), "{error}");
    assert!(!system.logs().contains(MARK));
}

#[sqlx::test(migrations = false)]
async fn a_dead_letter_that_the_leader_makes_is_logged_by_it(db: PgPool) {
    let mut small = Small::on(system(&db, "all")).await;
    let id = small
        .server
        .submit(&json!({"task_name": "example_long_running"}))
        .await;
    small.server.wait_for(&id, "running", SOON).await;
    // one crash below the limit, so that killing a single worker makes it a dead letter
    sqlx::query("UPDATE tasks SET crash_count = 9")
        .execute(&db)
        .await
        .expect("a task");
    small.worker.process.kill().await;
    small.server.wait_for(&id, "dead_letter", SOON).await;
    let dead_letters = |server: &Running| {
        let log = server.process.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["message"] == "dead letter" && line["task_id"] == id);
        lines.collect::<Vec<Value>>()
    };
    eventually("it is logged", SOON, async || {
        !dead_letters(&small.server).is_empty()
    })
    .await;
    let lines = dead_letters(&small.server);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["reason"]),
        (&json!("ERROR"), &json!("crash_loop"))
    );
}
