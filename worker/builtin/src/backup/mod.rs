//! `task:backup`: dumps the database with `pg_dump` into a dated file and deletes old ones.
//!
//! The configuration alone decides the database and the folder, since any submitter can set the parameters of
//! a task. A dump is written under a temporary name and renamed when it is complete and on disk. The password
//! is passed in an environment variable of `pg_dump` and appears neither in its arguments nor in any text.

mod connection;
mod expected;
mod files;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tasker_config::BackupConfig;
use tokio::process::Command;

use crate::child::{self, ChildGroup};
use connection::Connection;
use expected::Expected;
use files::{Dumps, Partial};
use tasker_worker::{AnyTaskType, Context, Role, TaskError, TaskType};

/// Time between progress reports.
const REPORT: Duration = Duration::from_secs(5);
/// Number of last lines of `pg_dump`'s standard error in an error text.
const LINES: usize = 20;
/// The error of a task whose row has a password.
const STORED_PASSWORD: &str = "`password` was stored with this task, because a server of an older release accepted it: \
    change the password, purge this dead letter, and update all servers; newer ones do not store it";
/// The time for which `pg_dump` waits for the lock of a table, in milliseconds.
const LOCK_WAIT: &str = "--lock-wait-timeout=60000";

#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    file: String,
    bytes: u64,
    seconds: f64,
    /// The names of old dumps that were deleted.
    deleted: Vec<String>,
}

pub(super) fn task(config: BackupConfig) -> AnyTaskType {
    let config = Arc::new(config);
    TaskType::new("task:backup", move |context, expected: Expected| {
        let config = Arc::clone(&config);
        async move { run(&config, &expected, &context).await }
    })
    .description("Dumps the database into BACKUP_DIR with pg_dump, and deletes old dumps")
    .max_retries(2)
    .backoff(Duration::from_secs(1), Duration::from_hours(1))
    .timeout(Duration::from_hours(6))
    .requires(Role::Operator)
    .into()
}

async fn run(config: &BackupConfig, expected: &Expected, context: &Context) -> Result<Report, TaskError> {
    if expected.has_stored_password() {
        return Err(TaskError::fail(STORED_PASSWORD));
    }
    let began = Instant::now();
    let connection = Connection::of(&config.database_url, std::env::vars_os());
    let contradictions = expected.contradictions(config, &connection);
    if !contradictions.is_empty() {
        return Err(TaskError::fail(contradictions.join("; ")));
    }
    let dumps = Dumps::new(&config.dir, connection.database());
    let task = context.task_id();
    let partial = in_thread({
        let dumps = dumps.clone();
        move || dumps.begin(task)
    })
    .await
    .map_err(|error| TaskError::fail(format!("BACKUP_DIR {}: {error}", config.dir.display())))?;
    let mut program = child::command(&config.program);
    connection.enter(&mut program);
    program
        .args(["--format=custom", "--no-password", LOCK_WAIT])
        .arg("--file")
        .arg(partial.path());
    // cancelled, timed out or released, `dump` is dropped, which kills pg_dump, and then `partial`, which
    // deletes the file
    tokio::select! {
        dumped = dump(config, &connection, program, &partial, context) => dumped?,
        () = context.cancelled().cancelled() => return Err(TaskError::fail("cancelled")),
    }
    // old dumps are deleted only after the new one is on disk
    let (file, bytes) = in_thread(move || partial.finish()).await?;
    let policy = (config.keep, config.max_age);
    let deleted = in_thread(move || dumps.clean_up(policy.0, policy.1)).await?;
    Ok(Report {
        file: file.display().to_string(),
        bytes,
        seconds: began.elapsed().as_secs_f64(),
        deleted,
    })
}

/// Runs `pg_dump` until it ends, and kills it when the future is dropped.
async fn dump(
    config: &BackupConfig,
    connection: &Connection,
    mut program: Command,
    partial: &Partial,
    context: &Context,
) -> Result<(), TaskError> {
    let mut group = match ChildGroup::spawn(program.stderr(Stdio::piped())) {
        Ok(group) => group,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(TaskError::fail(format!(
                "`{}` is not installed here: install Postgres's client programs beside the worker, or set BACKUP_PROGRAM to \
                 the path of pg_dump",
                config.program
            )));
        }
        Err(error) => {
            return Err(TaskError::retry(format!(
                "cannot start `{}`: {error}",
                config.program
            )));
        }
    };
    let (_, stderr) = group.output();
    let mut complaints = VecDeque::new();
    let read = async {
        if let Some(stderr) = stderr {
            child::lines(stderr, |line| {
                if complaints.len() == LINES {
                    complaints.pop_front();
                }
                complaints.push_back(line);
            })
            .await;
        }
    };
    let report = async || -> Infallible {
        loop {
            tokio::time::sleep(REPORT).await;
            // a failed progress report must not stop the dump
            let _ = context.progress(json!({"bytes": partial.bytes()}));
        }
    };
    let ended = tokio::select! {
        ((), ended) = async { tokio::join!(read, group.wait()) } => ended,
        never = report() => match never {},
    };
    let complaints = Vec::from(complaints).join("\n");
    check_exit(ended, &connection.without_password(&complaints))
}

fn check_exit(ended: io::Result<ExitStatus>, complaints: &str) -> Result<(), TaskError> {
    let status = ended?;
    if status.success() {
        return Ok(());
    }
    Err(TaskError::retry(format!("pg_dump: {status}: {complaints}")))
}

/// Runs file operations on a thread that may block.
async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
