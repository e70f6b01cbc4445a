//! Passwords and payloads stay out of the logs.

use serde_json::json;
use sqlx::{ConnectOptions, PgPool};
use tasker_testkit::{RedisServer, System, free_port};

use crate::harness::{SOON, Small};

const MARK: &str = "xyzzy-payload";
const PASSWORD: &str = "xyzzy-password";

#[sqlx::test(migrations = false)]
async fn invariant_13_no_payload_and_no_password_is_ever_logged(db: PgPool) {
    let mut redis = RedisServer::start_with_password(PASSWORD).await;
    let database = db.connect_options().to_url_lossy();
    let levels = "info,tasker_server=trace,tasker_worker=trace,tasker_engine=trace,tasker_config=trace,tasker_platform=trace,tasker_queue=trace,tasker_store=trace";
    let system = System::on(database.as_str(), &redis.url()).with("RUST_LOG", levels);
    let small = Small::on(system).await;
    let server = &small.server;

    let private = json!({"metadata": {"m": MARK}, "tags": [MARK], "idempotency_key": MARK, "max_retries": 1});
    let mut echo = private.clone();
    echo["task_name"] = json!("echo");
    echo["parameters"] = json!({"p": MARK});
    let mut failing = private.clone();
    failing["task_name"] = json!("example_failing");
    failing["parameters"] = json!({"error_message": MARK});
    let mut calling = private;
    calling["task_name"] = json!("http_request");
    calling["parameters"] = json!({"url": format!("http://127.0.0.1:1/?key={MARK}")});
    let ids = [
        server.submit(&echo).await,
        server.submit(&failing).await,
        server.submit(&calling).await,
    ];
    server.wait_for(&ids[0], "completed", SOON).await;
    server.wait_for(&ids[1], "dead_letter", SOON).await;
    server.wait_for(&ids[2], "dead_letter", SOON).await;

    let wrong = json!({"task_name": "example_failing", "parameters": {"should_fail": MARK}});
    let (status, answer) = server.post("/tasks/submit", &wrong).await;
    assert_eq!(status, 422);
    assert!(!answer.to_string().contains(MARK), "{answer}");
    let (status, _) = server.post("/tasks/submit", &json!({MARK: 1})).await;
    assert_eq!(status, 422);

    // outages make processes log errors with URLs
    redis.stop().await;
    echo["idempotency_key"] = json!("another");
    let id = server.submit(&echo).await;
    server.wait_for(&id, "completed", SOON).await;
    let closed = format!("postgres://tasker:{PASSWORD}@127.0.0.1:{}/tasker", free_port());
    let away = [
        ("DATABASE_URL", closed.as_str()),
        ("DB_MIGRATION_TIMEOUT", "1"),
        ("LISTEN_ADDRS", "127.0.0.1:0"),
    ];
    assert_eq!(
        small.system.run("tasker-server", &[], &away).wait().await.code(),
        Some(124)
    );

    let logs = small.system.logs();
    assert!(
        logs.contains("[ORCHESTRATION]") && logs.contains("[WORKER]"),
        "{logs}"
    );
    for secret in [MARK, PASSWORD] {
        let lines: Vec<&str> = logs.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}

#[sqlx::test(migrations = false)]
async fn the_password_of_a_backups_payload_is_accepted_and_is_in_no_row_and_no_log(db: PgPool) {
    let dir = "/var/backups/tasker";
    let system = System::new(&db)
        .with("BACKUP_DIR", dir)
        .with("RUST_LOG", "info,tasker_server=trace,tasker_worker=trace");
    let small = Small::on(system).await;
    let payload = json!({
        "host": "elsewhere", "port": 5432, "user": "me", "password": PASSWORD, "database": "shop",
        "backup_dir": dir, "retention_days": 7,
    });
    let task = json!({"task_name": "task:backup", "parameters": payload});
    let (status, answer) = small.server.post("/tasks/submit", &task).await;
    assert_eq!(status, 202, "{answer}");
    let message = answer["message"].as_str().expect("a message");
    assert!(message.contains("not stored: `password`"), "{message}");
    let id = answer["task_id"].as_str().expect("an id");
    small.server.wait_for(id, "dead_letter", SOON).await;
    let (_, record) = small.server.get(&format!("/tasks/{id}")).await;
    let error = record["error"].as_str().expect("an error");
    assert!(error.contains("`host` is not the value of"), "{error}");
    assert_eq!(record["parameters"]["user"], "me");
    assert!(!record.to_string().contains(PASSWORD), "{record}");
    let in_rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM tasks AS one WHERE one::text LIKE '%' || $1 || '%'")
            .bind(PASSWORD)
            .fetch_one(&db)
            .await
            .expect("a count");
    assert_eq!(in_rows, 0);
    assert!(!small.system.logs().contains(PASSWORD));
}
