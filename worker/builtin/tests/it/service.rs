//! `service:command` and `service:NAME` with real programs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_store::cancel::cancel;
use tasker_store::insert::NewTask;
use tasker_testkit::eventually;
use tempfile::TempDir;

use crate::built_in_worker;
use crate::harness::{RunningWorker, SOON, System, result, with};

/// A system whose worker knows one command, `web`: a shell with this script, in a folder of its own.
struct Service {
    system: System,
    worker: RunningWorker,
    folder: TempDir,
}

impl Service {
    fn start(db: PgPool, script: &str, settings: &[(&str, &str)]) -> Self {
        let system = System::new(db);
        let folder = tempfile::tempdir().expect("a folder");
        let web = json!({"command": ["sh", "-c", script], "dir": folder.path(), "env": {"PORT": "3000"}});
        let commands = json!({ "web": web }).to_string();
        let settings = [&[("service-commands", commands.as_str())], settings].concat();
        Self {
            worker: built_in_worker(&system, &settings),
            system,
            folder,
        }
    }

    async fn submit(&self, name: &str) -> TaskId {
        self.system.submit(service(name)).await
    }

    async fn has(&self, file: &str) {
        eventually(file, SOON, async || self.folder.path().join(file).exists()).await;
    }

    /// The process that wrote its id into `pid`.
    fn process(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("pid")).expect("its id");
        text.trim().to_owned()
    }
}

fn service(name: &str) -> NewTask {
    with("service:command", &json!({"name": name}))
}

fn lives(process: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(process).join("stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A script that writes its process id, and records SIGTERM.
const LONG: &str = "trap 'touch told; exit 0' TERM; echo $$ > pid.new; mv pid.new pid; touch runs; while :; do sleep 0.05; done";
/// The same script, which ignores SIGTERM.
const DEAF: &str =
    "trap 'touch told' TERM; echo $$ > pid.new; mv pid.new pid; touch runs; while :; do sleep 0.05; done";

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_service_that_ends_with_0_succeeds_and_its_last_lines_are_the_result(db: PgPool) {
    let script = "pwd; echo port $PORT; echo \"${DATABASE_URL:-no secrets}\" >&2";
    let service = Service::start(db, script, &[]);
    let id = service.submit("web").await;
    let report = result(&service.system.until(id, TaskStatus::Completed).await);
    assert_eq!(
        (&report["name"], &report["exit_code"]),
        (&json!("web"), &json!(0))
    );
    let lines: Vec<&str> = report["last_lines"]
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let folder = service.folder.path().display().to_string();
    for line in [folder.as_str(), "port 3000", "no secrets"] {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    service.worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_service_that_fails_is_tried_again_and_an_unknown_one_is_not(db: PgPool) {
    let service = Service::start(db, "echo no such page; exit 3", &[]);
    let task = NewTask {
        max_attempts: 2,
        ..self::service("web")
    };
    let id = service.system.submit(task).await;
    let ended = service.system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!((ended.attempts, ended.reason.as_deref()), (2, Some("exhausted")));
    let error = ended.error.expect("an error");
    assert!(error.contains("exit status: 3: no such page"), "{error}");
    let id = service.submit("shell").await;
    let ended = service.system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!((ended.attempts, ended.reason.as_deref()), (1, Some("failed")));
    assert!(ended.error.is_some_and(|error| error.contains("web")));
    service.worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_cancelled_service_gets_sigterm_and_has_ended_with_its_task(db: PgPool) {
    let service = Service::start(db, LONG, &[]);
    let id = service.submit("web").await;
    service.has("pid").await;
    assert!(lives(&service.process()));
    cancel(&service.system.db, id, "test").await.expect("an answer");
    service.system.until(id, TaskStatus::Cancelled).await;
    assert!(service.folder.path().join("told").exists(), "it got SIGTERM");
    assert!(!lives(&service.process()));
    service.worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_service_that_outlives_its_timeout_and_ignores_sigterm_is_killed(db: PgPool) {
    let service = Service::start(db, DEAF, &[]);
    let task = NewTask {
        timeout_seconds: 1.0,
        max_attempts: 1,
        ..self::service("web")
    };
    let id = service.system.submit(task).await;
    let ended = service.system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!(ended.reason.as_deref(), Some("timeout"));
    service.has("told").await;
    eventually("it was killed", SOON, async || !lives(&service.process())).await;
    service.worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_stops_takes_its_services_along_and_gives_their_tasks_back(db: PgPool) {
    let service = Service::start(db, DEAF, &[("shutdown-timeout", "100ms")]);
    let id = service.submit("web").await;
    service.has("pid").await;
    let process = service.process();
    service.worker.stop().await.expect("stopped");
    assert!(!lives(&process), "the worker waited for its end");
    assert!(service.folder.path().join("told").exists(), "it was asked first");
    let task = service.system.task(id).await;
    assert_eq!((task.status, task.attempts), (TaskStatus::Pending, 0));
}

/// The last lines of a completed task.
async fn last_lines(system: &System, id: TaskId) -> Vec<String> {
    let report = result(&system.until(id, TaskStatus::Completed).await);
    serde_json::from_value(report["last_lines"].clone()).expect("lines")
}

/// The folder that a program sees, without links.
fn resolved(folder: &Path) -> String {
    fs::canonicalize(folder).expect("a folder").display().to_string()
}

const WHERE: &str = "pwd; echo port $PORT; echo argument $0";

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_starts_its_service_in_the_folder_and_on_the_port_that_it_may_choose(db: PgPool) {
    let system = System::new(db);
    let root = tempfile::tempdir().expect("a folder");
    let site = root.path().join("site");
    fs::create_dir(&site).expect("created");
    let commands = json!({"nextjs": {
        "command": ["sh", "-c", WHERE, "--port={port}"], "dir_below": root.path(), "ports": [3000, 3999],
    }})
    .to_string();
    let worker = built_in_worker(&system, &[("service-commands", &commands)]);
    let submit = async |parameters: Value| system.submit(with("service:nextjs", &parameters)).await;
    let id = submit(json!({"working_dir": site, "port": 3100})).await;
    let lines = last_lines(&system, id).await;
    assert_eq!(lines, [&*resolved(&site), "port 3100", "argument --port=3100"]);
    for (parameters, field) in [
        (json!({"working_dir": "/", "port": 3100}), "`working_dir`"),
        (json!({"working_dir": site, "port": 22}), "`port`"),
        (
            json!({"working_dir": site, "port": 3100, "command": "id"}),
            "command",
        ),
    ] {
        let id = submit(parameters).await;
        let ended = system.until(id, TaskStatus::DeadLetter).await;
        assert_eq!((ended.attempts, ended.reason.as_deref()), (1, Some("failed")));
        assert!(ended.error.is_some_and(|error| error.contains(field)), "{field}");
    }
    worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_service_with_a_preset_folder_and_port_needs_no_parameters(db: PgPool) {
    let system = System::new(db);
    let folder = tempfile::tempdir().expect("a folder");
    let commands =
        json!({"notion-clone": {"command": ["sh", "-c", WHERE, "app"], "dir": folder.path(), "port": 3000}});
    let worker = built_in_worker(&system, &[("service-commands", &commands.to_string())]);
    let task = with("service:notion-clone", &json!({}));
    let by_name = with("service:command", &json!({"name": "notion-clone"}));
    for task in [task, by_name] {
        let id = system.submit(task).await;
        let lines = last_lines(&system, id).await;
        assert_eq!(lines, [&*resolved(folder.path()), "port 3000", "argument app"]);
    }
    worker.stop().await.expect("stopped");
}
