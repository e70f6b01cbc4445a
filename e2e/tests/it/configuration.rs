//! What a process is told by its environment.

use std::path::Path;

use sqlx::PgPool;
use tasker_testkit::{RedisServer, System};

use crate::harness::{SOON, Small, echo};

/// The exit code and the output of a program that refuses its configuration.
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
async fn queues_of_ones_own_are_declared_and_others_refused(db: PgPool) {
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
