//! The command line `tasker` against a running server.

use serde_json::Value;
use sqlx::PgPool;
use tasker_testkit::{RedisServer, System, free_port};

use crate::harness::{SOON, Small};

/// Runs `tasker` with these arguments; returns exit code and output.
pub(crate) async fn tasker(system: &System, url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = system.run("tasker", arguments, &[("TASKER_URL", url)]);
    (process.wait().await.code(), process.log())
}

#[sqlx::test(migrations = false)]
async fn tasks_are_submitted_awaited_and_shown(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let (code, text) = run(&["task", "submit", "noop", "--wait"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("completed"), "{text}");

    let (code, text) = run(&[
        "task",
        "submit",
        "echo",
        "--params",
        r#"{"a":[1.10]}"#,
        "--wait",
        "--json",
    ])
    .await;
    assert_eq!(code, Some(0), "{text}");
    let task: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&task["status"], &task["result"]),
        (&"completed".into(), &serde_json::json!({"a": [1.1]}))
    );

    let id = task["task_id"].as_str().expect("an id");
    let (code, text) = run(&["task", "get", id]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(id) && text.contains("completed"), "{text}");

    let (code, text) = run(&["task", "explain", id]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("finished"), "{text}");

    let (code, text) = run(&["task", "totals", "--days", "2"]).await;
    assert_eq!(code, Some(0), "{text}");
    let echo = text.lines().find(|line| line.starts_with("echo"));
    let words: Vec<_> = echo.expect("a line").split_whitespace().collect();
    assert_eq!(words, ["echo", "1", "1", "0", "0", "0", "0", "0"], "{text}");
}

#[tokio::test]
async fn a_worker_lists_its_task_types_without_postgres() {
    let nowhere = System::on("postgres://127.0.0.1:1/nothing", "redis://127.0.0.1:1");
    let run = async |arguments: &[&str]| {
        let mut process = nowhere.run("tasker-worker", arguments, &[]);
        (process.wait().await.code(), process.log())
    };
    let (code, text) = run(&["types"]).await;
    assert_eq!(code, Some(0), "{text}");
    for name in ["NAME", "noop", "echo", "http_request"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
    }
    let (code, text) = run(&["types", "--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    let types: Value = serde_json::from_str(&text).expect("JSON");
    let names = types["types"].as_array().expect("the types").iter();
    assert!(
        names.map(|task| &task["name"]).any(|name| name == "echo"),
        "{text}"
    );
}

#[sqlx::test(migrations = false)]
async fn a_worker_pings_postgres_and_redis_and_names_the_one_that_fails_without_its_password(db: PgPool) {
    let redis = RedisServer::start_with_password("swordfish").await;
    let database = sqlx::ConnectOptions::to_url_lossy(&*db.connect_options());
    let system = System::on(database.as_str(), &redis.url()).with("REDIS_URL", &redis.url_without_password());
    let ping = async |password: &str| {
        let mut process = system.run("tasker-worker", &["ping"], &[("REDIS_PASSWORD", password)]);
        (process.wait().await.code(), process.log())
    };
    let line = |text: &str, service: &str| {
        let found = text.lines().find(|line| line.starts_with(service));
        found.unwrap_or_default().to_owned()
    };
    let (code, text) = ping("swordfish").await;
    assert_eq!(code, Some(0), "{text}");
    for service in ["postgres", "redis"] {
        assert!(line(&text, service).ends_with(" ms"), "{text}");
    }
    let (code, text) = ping("goldfish").await;
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "postgres").ends_with(" ms"), "{text}");
    assert!(line(&text, "redis").contains("failed: "), "{text}");
    assert!(!text.contains("goldfish"), "{text}");
    let nowhere = [
        ("DATABASE_URL", "postgres://t:hunter2@127.0.0.1:1/t"),
        ("DISPATCH_MODE", "PollingOnly"),
    ];
    let mut process = system.run("tasker-worker", &["ping"], &nowhere);
    let code = process.wait().await.code();
    let text = process.log();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        line(&text, "postgres").contains("failed: ") && line(&text, "redis").contains("not used"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[sqlx::test(migrations = false)]
async fn queues_and_workers_are_listed(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let (code, text) = run(&["queue", "list"]).await;
    assert_eq!(code, Some(0), "{text}");
    for queue in [
        "high_priority",
        "default",
        "low_priority",
        "SCHEDULED",
        "RETRY",
        "UNROUTABLE",
    ] {
        assert!(text.contains(queue), "{text}");
    }
    let (code, text) = run(&["worker", "status", "--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert!(answer.to_string().contains("worker-"), "{answer}");
    let (code, text) = run(&["worker", "status"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("worker-"), "{text}");
}

#[sqlx::test(migrations = false)]
async fn templates_that_a_worker_brings_along_are_listed_and_shown(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/order-fulfillment/templates"
    );
    let _worker = small.system.worker(&[("TASKER_TEMPLATE_PATH", folder)]).await;
    let (code, text) = run(&["template", "list"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("order_fulfillment"), "{text}");
    let shown = ["template", "show", "fulfillment", "order_fulfillment"];
    let (code, text) = run(&[&shown[..], &["--version", "1.0.0", "--json"]].concat()).await;
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        answer["template"]["steps"][4]["needs"][1]["step"],
        "process_payment"
    );
    let (code, text) = run(&[&shown[..], &["--version", "2.0.0"]].concat()).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("Template not found"), "{text}");
}

#[sqlx::test(migrations = false)]
async fn the_exit_code_shows_what_went_wrong(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let (code, text) = run(&[
        "task",
        "submit",
        "example_failing",
        "--max-retries",
        "0",
        "--wait",
    ])
    .await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("dead_letter"), "{text}");
    let (code, text) = run(&["task", "submit", "unknown_type"]).await;
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = run(&["task", "get", "0190a5f0-0000-7000-8000-000000000000"]).await;
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = run(&["task", "get", "no-uuid"]).await;
    assert_eq!(code, Some(2), "{text}");
    let closed = format!("http://127.0.0.1:{}", free_port());
    let (code, text) = tasker(&small.system, &closed, &["queue", "list"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&closed), "{text}");
}

#[sqlx::test(migrations = false)]
async fn a_queue_is_created_and_a_worker_that_is_started_with_it_drains_it(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    for _ in 0..2 {
        let (code, text) = run(&["queue", "create", "team.mail"]).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("team.mail"), "{text}");
    }
    let _worker = small.system.worker(&[("TASK_QUEUES", "team.mail")]).await;
    let submit = ["task", "submit", "noop", "--queue", "team.mail", "--wait"];
    let (code, text) = run(&submit).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&["queue", "create", "high"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("high_priority"), "{text}");
    let told = |line: &str| line.contains("audit event") && line.contains("/queues/team.mail");
    let log = small.server.process.log();
    assert!(log.lines().any(told), "{log}");
}

#[sqlx::test(migrations = false)]
async fn queues_are_paused_and_resumed(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    for (action, paused) in [("pause", true), ("resume", false)] {
        let (code, text) = run(&["queue", action, "low", "--json"]).await;
        assert_eq!(code, Some(0), "{text}");
        let queue: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&queue["name"], &queue["paused"]),
            (&"low_priority".into(), &paused.into())
        );
        let (code, text) = run(&["queue", action, "low"]).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("low_priority"), "{text}");
    }
    let (code, text) = run(&["queue", "pause", "unknown"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("high_priority"), "{text}");
}

#[sqlx::test(migrations = false)]
async fn dead_letters_are_listed_retried_and_purged(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let json = async |arguments: &[&str]| -> Value {
        let (code, text) = run(arguments).await;
        assert_eq!(code, Some(0), "{text}");
        serde_json::from_str(&text).expect("JSON")
    };
    let body = serde_json::json!({"task_name": "example_failing", "max_retries": 0});
    let id = small.server.submit(&body).await;
    small.server.wait_for(&id, "dead_letter", SOON).await;
    let (code, text) = run(&["dlq", "list", "--reason", "exhausted"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&id), "{text}");
    let dry = json(&["dlq", "purge", "--dry-run", "--queue", "default", "--json"]).await;
    assert_eq!((&dry["matched"], &dry["purged"]), (&1.into(), &0.into()));
    let retried = json(&["dlq", "retry", "--task-name", "example_failing", "--json"]).await;
    assert_eq!(retried["retried"], 1);
    small.server.wait_for(&id, "dead_letter", SOON).await;
    let old = ["dlq", "purge", "--before", "2020-01-01T00:00:00Z"];
    let none = json(&[&old[..], &["--yes", "--json"]].concat()).await;
    assert_eq!(none["matched"], 0);
    for (refused, hint) in [
        (&["dlq", "purge"][..], "--all"),
        (&["dlq", "purge", "--yes"], "--all"),
        (&["dlq", "retry"], "--all"),
        (&["dlq", "purge", "--all"], "--yes"),
        (&["dlq", "retry", "--all"], "--yes"),
        (&old, "--yes"),
    ] {
        let (code, text) = run(refused).await;
        assert_eq!(code, Some(2), "{refused:?}: {text}");
        assert!(text.contains(hint), "{text}");
    }
    let (status, _) = small.server.get(&format!("/tasks/{id}")).await;
    assert_eq!(status, 200);
    let (code, text) = run(&["dlq", "purge", "--all", "--yes"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("PURGED"), "{text}");
    let (status, _) = small.server.get(&format!("/tasks/{id}")).await;
    assert_eq!(status, 404);
}
