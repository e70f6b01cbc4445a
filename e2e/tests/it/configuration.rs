//! Configuration by environment variables.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_testkit::{
    PostgresServer, Process, RedisServer, Running, System, eventually, free_port, http_client,
};

use crate::harness::{SOON, Small, echo};

/// Runs a program with an invalid configuration; returns exit code and output.
async fn refused(system: &System, program: &str, environment: &[(&str, &str)]) -> String {
    let mut process = system.run(program, &[], environment);
    assert_eq!(process.wait().await.code(), Some(78), "{}", process.log());
    process.log()
}

fn nowhere() -> System {
    System::on("postgres://127.0.0.1:1/nothing", "redis://127.0.0.1:1")
}

#[sqlx::test(migrations = false)]
async fn an_undeclared_queue_stops_the_worker_and_the_declared_ones_are_listed(db: PgPool) {
    let system = System::new(&db);
    let _server = system.server(&[]).await;
    let log = refused(&system, "tasker-worker", &[("TASK_QUEUES", "default,urgnet")]).await;
    for word in [
        "TASK_QUEUES",
        "urgnet",
        "high_priority",
        "default",
        "low_priority",
        "EXTRA_QUEUES",
        "tasker queue create",
    ] {
        assert!(log.contains(word), "{word} is missing in {log}");
    }
}

#[tokio::test]
async fn a_worker_without_built_in_tasks_or_with_misspelled_ones_does_not_start_and_says_why() {
    let system = nowhere();
    let log = refused(&system, "tasker-worker", &[("BUILTIN_TASKS", "none")]).await;
    assert!(
        log.contains("BUILTIN_TASKS: leaves this worker without a task type"),
        "{log}"
    );
    let log = refused(&system, "tasker-worker", &[("BUILTIN_TASKS", "noop,htp_request")]).await;
    assert!(log.contains("`htp_request` is not a built-in task type"), "{log}");
    assert!(log.contains("the nearest first: http_request, "), "{log}");
}

#[sqlx::test(migrations = false)]
async fn a_worker_offers_only_the_built_in_tasks_that_it_is_told_to(db: PgPool) {
    let system = System::new(&db).with("BUILTIN_TASKS", "noop,echo");
    let small = Small::on(system).await;
    let id = small.server.submit(&echo(1)).await;
    small.server.wait_for(&id, "completed", SOON).await;
    let (status, problem) = small
        .server
        .post(
            "/tasks/submit",
            &serde_json::json!({"task_name": "example_failing"}),
        )
        .await;
    assert_eq!(status.as_u16(), 422, "{problem}");
    assert_eq!(problem["code"], "unknown_task_type");
}

#[tokio::test]
async fn all_problems_are_listed_at_once_by_name_and_without_secrets() {
    let wrong = [
        ("DATABASE_URL", "mysql://root:hunter2@somewhere/x"),
        ("DB_POOL_SIZE", "many"),
        ("HEARTBEAT_INTERVAL", "20s"),
        ("WORKER_TIMEOUT", "30s"),
        ("SHUTDOWN_TIMEOUT", "soon"),
        ("QUEUE_KEY_PREFIX", ""),
    ];
    for (program, own) in [
        (
            "tasker-server",
            [
                ("LISTEN_ADDRS", "0.0.0.0:8000"),
                ("DB_MIGRATION_TIMEOUT", "-1"),
                ("DEPLOYMENT_MODE", "maybe"),
            ],
        ),
        (
            "tasker-worker",
            [
                ("TASK_QUEUES", "No where"),
                ("WORKER_POOL_SIZE", "0"),
                ("CLAIM_INTERVAL", "x"),
            ],
        ),
    ] {
        let log = refused(&nowhere(), program, &[&wrong[..], &own].concat()).await;
        for name in [
            "DATABASE_URL",
            "DB_POOL_SIZE",
            "WORKER_TIMEOUT",
            "SHUTDOWN_TIMEOUT",
        ] {
            assert!(log.contains(name), "{program}: {name} is missing in {log}");
        }
        for (name, _) in own {
            assert!(log.contains(name), "{program}: {name} is missing in {log}");
        }
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[sqlx::test(migrations = false)]
async fn secrets_may_come_from_files_and_the_password_of_redis_apart_from_its_url(db: PgPool) {
    let redis = RedisServer::start_with_password("swordfish").await;
    let database = sqlx::ConnectOptions::to_url_lossy(&*db.connect_options());
    let system = System::on(database.as_str(), &redis.url())
        .without("DATABASE_URL")
        .with("REDIS_URL", &redis.url_without_password());
    let file = |name: &str, text: &str| {
        let path = system.folder().join(name);
        std::fs::write(&path, format!("{text}\n")).expect("the folder takes a file");
        path.display().to_string()
    };
    let (database, password) = (file("database", database.as_str()), file("password", "swordfish"));
    assert!(Path::new(&database).exists());
    let from_files = [
        ("DATABASE_URL_FILE", database.as_str()),
        ("REDIS_PASSWORD_FILE", password.as_str()),
    ];
    let server = system.server(&from_files).await;
    let (_, health) = server.get("/health/ready").await;
    assert_ne!(health["status"], "degraded", "{health}");
    let _worker = system
        .worker(&[("DATABASE_URL_FILE", &database), ("REDIS_PASSWORD", "swordfish")])
        .await;
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
}

#[sqlx::test(migrations = false)]
async fn extra_queues_are_declared_and_others_rejected(db: PgPool) {
    let small = Small::on(
        System::new(&db)
            .with("EXTRA_QUEUES", "mail")
            .with("TASK_QUEUES", "mail,default"),
    )
    .await;
    let mut task = echo(1);
    task["queue"] = "mail".into();
    let id = small.server.submit(&task).await;
    small.server.wait_for(&id, "completed", SOON).await;
    task["queue"] = "male".into();
    let (status, problem) = small.server.post("/tasks/submit", &task).await;
    assert_eq!(status, 422);
    let text = problem.to_string();
    for name in ["mail", "high_priority", "default", "low_priority"] {
        assert!(text.contains(name), "{name} is missing in {text}");
    }
}

/// Returns the listening address that a worker logged.
async fn logged_address(worker: &Process) -> String {
    let mut address = None;
    eventually("the worker logs its address", SOON, async || {
        let log = worker.log();
        let line = log
            .lines()
            .find(|line| line.contains("serving health and metrics"));
        let word = line.and_then(|line| line.split("address=").nth(1)?.split_whitespace().next());
        address = word.map(str::to_owned);
        address.is_some()
    })
    .await;
    address.expect("it was logged")
}

#[sqlx::test(migrations = false)]
async fn workers_take_any_free_port_and_log_it(db: PgPool) {
    let system = System::new(&db);
    let workers = [(); 2].map(|()| system.run("tasker-worker", &[], &[]));
    let http = http_client().build().expect("a client without options");
    for worker in &workers {
        let url = format!("http://{}/health", logged_address(worker).await);
        let answer = http.get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
}

#[sqlx::test(migrations = false)]
async fn the_command_line_of_a_program_on_the_library_is_its_own(db: PgPool) {
    let system = System::new(&db);
    let mut worker = system.run(
        "stuck-worker",
        &["serve", "--verbose", "--worker-pool-size=x"],
        &[],
    );
    logged_address(&worker).await;
    assert!(worker.ended().is_none());
    let mut worker = system.run("tasker-worker", &["serve"], &[]);
    assert_eq!(worker.wait().await.code(), Some(2), "{}", worker.log());
}

#[sqlx::test(migrations = false)]
async fn the_example_answers_help_and_health_checks_without_starting_a_worker(db: PgPool) {
    let system = System::new(&db);
    let mut help = system.run("custom-worker", &["--help"], &[]);
    assert_eq!(help.wait().await.code(), Some(0), "{}", help.log());
    assert!(help.log().contains("--worker-pool-size"), "{}", help.log());

    let address = format!("127.0.0.1:{}", free_port());
    let variables = [("WORKER_LISTEN_ADDR", address.as_str())];
    let check = async || {
        let mut check = system.run("custom-worker", &["--healthcheck"], &variables);
        check.wait().await.code()
    };
    assert_eq!(check().await, Some(1), "no worker runs");
    let _server = system.server(&[]).await;
    let _worker = system.run("custom-worker", &[], &variables);
    eventually("the worker is ready", SOON, async || check().await == Some(0)).await;
}

#[tokio::test]
async fn a_worker_that_postgres_rejects_warns_at_once_and_again_and_goes_on_trying() {
    let postgres = PostgresServer::start().await;
    let right = postgres.url();
    let (before, after) = right.rsplit_once('@').expect("a URL with a password");
    let user = before.rsplit_once(':').expect("a password").0;
    let wrong = format!("{user}:xyzzy-wrong@{after}");
    let system = System::on(&wrong, &tasker_testkit::redis_url());
    let mut worker = system.spawn("tasker-worker", "WORKER_LISTEN_ADDR", &[]);
    let warnings = |worker: &Running| {
        let log = worker.process.log();
        let warned = |line: &&str| line.contains("WARN") && line.contains("check DATABASE_URL");
        log.lines().filter(warned).count()
    };
    let began = Instant::now();
    eventually("it warns", SOON, async || warnings(&worker) == 1).await;
    eventually("it warns again", SOON, async || warnings(&worker) == 2).await;
    assert!(began.elapsed() > Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(worker.process.ended().is_none());
    let log = worker.process.log();
    assert!(log.contains("password authentication failed"), "{log}");
    assert!(!log.contains("xyzzy-wrong"), "{log}");
}

#[tokio::test]
async fn a_worker_without_postgres_names_the_cause() {
    let system = nowhere();
    let worker = system.spawn("tasker-worker", "WORKER_LISTEN_ADDR", &[]);
    eventually("it warns", SOON, async || {
        let log = worker.process.log();
        log.contains("WARN") && log.contains("Connection refused") && log.contains("check host and port")
    })
    .await;
}
