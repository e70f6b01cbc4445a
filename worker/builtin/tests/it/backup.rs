//! `task:backup` against a Postgres that asks for a password.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sqlx::{PgPool, Row as _};
use tasker_core::task::TaskStatus;
use tasker_store::cancel::cancel;
use tasker_store::insert::NewTask;
use tasker_testkit::{PostgresServer, a_task, eventually};
use tempfile::TempDir;

use crate::built_in_worker;
use crate::harness::{RunningWorker, SOON, System, result, with};

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    (folder, path)
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("readable");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// A fake `pg_dump`.
fn stand_in(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("pg_dump");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    path
}

fn a_backup() -> NewTask {
    with("task:backup", &json!({}))
}

fn worker(system: &System, dir: &str, program: &Path) -> RunningWorker {
    let program = program.display().to_string();
    built_in_worker(system, &[("backup-dir", dir), ("backup-program", &program)])
}

async fn rows(db: &PgPool) -> Vec<(String, i64)> {
    let mut rows = Vec::new();
    for table in ["tasks", "finished_tasks", "task_events", "task_types", "queues"] {
        // the backup runs while it is dumped
        let sql = format!("SELECT count(*) FROM {table}");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_one(db)
            .await
            .expect("a count");
        rows.push((table.to_owned(), row.get(0)));
    }
    rows
}

#[tokio::test]
async fn a_dump_is_restored_with_every_row_and_names_nobody_its_password() {
    let server = PostgresServer::start().await;
    let db = PgPool::connect(&server.url()).await.expect("a connection");
    tasker_testkit::MIGRATOR.run(&db).await.expect("migrated");
    let system = System::new(db.clone());
    let (folder, dir) = folder();
    let worker = built_in_worker(&system, &[("backup-dir", &dir)]);
    let done = system.submit(with("echo", &json!({"n": 1}))).await;
    system.until(done, TaskStatus::Completed).await;
    // a task of a type that no worker here registers
    system.submit(a_task("elsewhere")).await;
    let id = system.submit(a_backup()).await;
    let ended = system.until(id, TaskStatus::Completed).await;
    let report = result(&ended);
    let file = PathBuf::from(report["file"].as_str().expect("a file"));
    assert_eq!(
        names(folder.path()),
        [file.file_name().expect("a name").to_str().expect("text")]
    );
    let found = fs::metadata(&file).expect("the dump");
    assert_eq!(report["bytes"], json!(found.len()));
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    worker.stop().await.expect("stopped");

    sqlx::query("CREATE DATABASE restored")
        .execute(&db)
        .await
        .expect("a database");
    let url = server
        .url()
        .replace("/postgres", "/restored")
        .replacen("postgres://", "postgresql://", 1);
    let restored = Command::new("pg_restore")
        .args(["--exit-on-error", "--no-owner", "--dbname", &url])
        .arg(&file)
        .output()
        .expect("pg_restore is installed");
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    let copy = PgPool::connect(&url).await.expect("a connection");
    let mut expected = rows(&db).await;
    // when it was dumped, the backup itself had not ended
    expected[0].1 += 1;
    expected[1].1 -= 1;
    assert_eq!(rows(&copy).await, expected);
    copy.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn who_expects_another_database_gets_no_dump_and_no_further_try(db: PgPool) {
    let system = System::new(db);
    let (folder, dir) = folder();
    let _worker = worker(&system, &dir, Path::new("/bin/true"));
    let id = system
        .submit(with(
            "task:backup",
            &json!({"database": "another", "backup_dir": dir}),
        ))
        .await;
    let ended = system.until(id, TaskStatus::DeadLetter).await;
    let error = ended.error.expect("an error");
    assert!(
        error.contains("`database` is not the value of BACKUP_DATABASE_URL"),
        "{error}"
    );
    assert!(!error.contains("backup_dir"), "{error}");
    assert_eq!((ended.attempts, names(folder.path()).len()), (1, 0));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_password_that_an_old_server_stored_stops_the_backup_which_says_what_to_do(db: PgPool) {
    let system = System::new(db);
    let (folder, dir) = folder();
    let _worker = worker(&system, &dir, Path::new("/bin/true"));
    // as a server writes it that does not know write-only parameters
    let id = system
        .submit(with("task:backup", &json!({"password": "hunter2"})))
        .await;
    let ended = system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!((ended.attempts, names(folder.path()).len()), (1, 0));
    let error = ended.error.expect("an error");
    assert!(
        error.contains("change the password") && !error.contains("hunter2"),
        "{error}"
    );
}

#[tokio::test]
async fn the_password_goes_to_pg_dump_in_a_variable_and_nothing_else_of_the_worker_does() {
    let server = PostgresServer::start().await;
    let db = PgPool::connect(&server.url()).await.expect("a connection");
    tasker_testkit::MIGRATOR.run(&db).await.expect("migrated");
    let system = System::new(db);
    let (folder, dir) = folder();
    let seen = folder.path().join("seen");
    let script = format!(
        "echo \"$@\" > {seen}.arguments; env > {seen}; echo \"no: $PGPASSWORD\" >&2; exit 3",
        seen = seen.display()
    );
    let worker = worker(&system, &dir, &stand_in(folder.path(), &script));
    let task = NewTask {
        max_attempts: 1,
        ..a_backup()
    };
    let id = system.submit(task).await;
    let ended = system.until(id, TaskStatus::DeadLetter).await;
    let url = server.url();
    let (_, rest) = url.split_once("tasker:").expect("a user");
    let (password, _) = rest.split_once('@').expect("a password");
    let variables = fs::read_to_string(&seen).expect("what it saw");
    assert!(
        variables.contains(&format!("PGPASSWORD={password}")),
        "{variables}"
    );
    assert!(!variables.contains("CARGO"), "{variables}");
    let arguments = fs::read_to_string(seen.with_extension("arguments")).expect("what it saw");
    assert!(
        arguments.contains("--format=custom") && !arguments.contains(password),
        "{arguments}"
    );
    let error = ended.error.expect("an error");
    assert!(
        error.contains("exit status: 3: no: ***") && !error.contains(password),
        "{error}"
    );
    assert!(
        !names(folder.path()).iter().any(|name| name.contains("dump.")),
        "nothing is left"
    );
    worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_backup_that_is_cancelled_or_too_slow_ends_pg_dump_and_leaves_nothing(db: PgPool) {
    let system = System::new(db);
    let (folder, dir) = folder();
    let marker = format!("60{}", std::process::id());
    let script = format!("touch {dir}/began; sleep {marker}");
    let worker = worker(&system, &dir, &stand_in(folder.path(), &script));
    let sleeps = || {
        let found = Command::new("pgrep")
            .args(["-f", &format!("sleep {marker}")])
            .output();
        !found.expect("pgrep is installed").stdout.is_empty()
    };
    let id = system.submit(a_backup()).await;
    eventually("pg_dump runs", SOON, async || sleeps()).await;
    cancel(&system.db, id, "test").await.expect("an answer");
    system.until(id, TaskStatus::Cancelled).await;
    eventually("pg_dump has ended", SOON, async || !sleeps()).await;
    assert_eq!(names(folder.path()), ["began", "pg_dump"]);

    fs::remove_file(folder.path().join("began")).expect("there");
    let slow = NewTask {
        timeout_seconds: 1.0,
        max_attempts: 1,
        ..a_backup()
    };
    let id = system.submit(slow).await;
    let ended = system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!(ended.reason.as_deref(), Some("timeout"));
    eventually("pg_dump has ended", SOON, async || !sleeps()).await;
    assert_eq!(names(folder.path()), ["began", "pg_dump"]);
    worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn without_pg_dump_or_its_folder_the_error_says_what_is_missing(db: PgPool) {
    let system = System::new(db);
    let (folder, dir) = folder();
    let worker = worker(&system, &format!("{dir}/dumps"), &folder.path().join("nowhere"));
    let id = system.submit(a_backup()).await;
    let error = system
        .until(id, TaskStatus::DeadLetter)
        .await
        .error
        .expect("an error");
    assert!(
        error.contains("is not installed here") && error.contains("BACKUP_PROGRAM"),
        "{error}"
    );
    drop(folder);
    let id = system.submit(a_backup()).await;
    let error = system
        .until(id, TaskStatus::DeadLetter)
        .await
        .error
        .expect("an error");
    assert!(error.contains("BACKUP_DIR"), "{error}");
    worker.stop().await.expect("stopped");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn old_dumps_go_when_a_new_one_is_complete(db: PgPool) {
    let system = System::new(db);
    let (folder, dir) = folder();
    let program = stand_in(
        folder.path(),
        "for word; do file=$word; done; echo dump > \"$file\"",
    )
    .display()
    .to_string();
    let worker = built_in_worker(
        &system,
        &[
            ("backup-dir", &dir),
            ("backup-program", &program),
            ("backup-keep", "2"),
            ("backup-database-url", "postgres://unused@127.0.0.1:1/kept"),
        ],
    );
    for day in 1..4 {
        let name = format!("tasker-kept-2026010{day}T000000Z-0000000{day}.dump");
        fs::write(folder.path().join(name), "old").expect("writable");
    }
    let id = system.submit(a_backup()).await;
    let report = result(&system.until(id, TaskStatus::Completed).await);
    let gone = [
        "tasker-kept-20260102T000000Z-00000002.dump",
        "tasker-kept-20260101T000000Z-00000001.dump",
    ];
    assert_eq!(report["deleted"], json!(gone));
    let left = names(folder.path());
    assert_eq!(
        (left.len(), left[1].as_str()),
        (3, "tasker-kept-20260103T000000Z-00000003.dump")
    );
    worker.stop().await.expect("stopped");
}
