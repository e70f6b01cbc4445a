//! The task type `service`: logging of a child process.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{System, eventually};

use crate::harness::{SOON, Small};

#[sqlx::test(migrations = false)]
async fn lines_of_a_service_are_logged_with_its_task_and_none_of_the_workers_secrets(db: PgPool) {
    let commands = json!({"web": {"command": ["sh", "-c", "echo it listens; env"]}}).to_string();
    let system = System::new(&db)
        .with("SERVICE_COMMANDS", &commands)
        .with("LOG_FORMAT", "json");
    let small = Small::on(system).await;
    let task = json!({"task_name": "service:command", "parameters": {"name": "web"}});
    let id = small.server.submit(&task).await;
    small.server.wait_for(&id, "completed", SOON).await;
    let line = || {
        let log = small.worker.process.log();
        log.lines()
            .find(|line| line.contains("it listens"))
            .map(str::to_owned)
    };
    eventually("the line is logged", SOON, async || line().is_some()).await;
    let line: Value = serde_json::from_str(&line().expect("logged")).expect("JSON");
    assert!(line.to_string().contains(&id), "{line}");
    assert_eq!(
        (&line["service"], &line["stream"]),
        (&json!("web"), &json!("stdout")),
        "{line}"
    );
    assert!(!small.worker.process.log().contains("DATABASE_URL"));
}

#[sqlx::test(migrations = false)]
async fn backups_and_services_are_no_task_types_unless_they_are_configured(db: PgPool) {
    let small = Small::start(&db).await;
    for name in ["task:backup", "service:command"] {
        let (status, problem) = small
            .server
            .post("/tasks/submit", &json!({"task_name": name}))
            .await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (422, &json!("unknown_task_type"))
        );
    }
}
