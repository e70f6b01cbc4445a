//! Steps shared by many tests.

use futures_util::future::join_all;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, Run, TaskId, TaskStatus};
use tasker_store::claim::{Claim, Claimant, claim};
use tasker_store::complete::{Success, complete};
use tasker_store::end_runs::{EndedRun, Verdict, end_runs};
use tasker_store::insert::{Inserted, NewTask, insert};
use tasker_store::records::{self, TaskRecord};
use tasker_store::workers::register;
use tasker_testkit::{a_task, a_worker};

/// A day, the default of `IDEMPOTENCY_TTL`.
pub(crate) const KEY_TTL: f64 = 86_400.0;
/// The default of `WORKER_TIMEOUT`.
pub(crate) const WORKER_TIMEOUT: f64 = 30.0;

/// Writes `tasks`.
pub(crate) async fn submit(db: &PgPool, tasks: &[NewTask]) -> Inserted {
    insert(db, tasks, KEY_TTL).await.expect("the tasks are stored")
}

/// Writes one task and returns its id.
pub(crate) async fn submit_one(db: &PgPool, task: NewTask) -> TaskId {
    submit(db, std::slice::from_ref(&task)).await;
    task.id
}

/// Writes `count` tasks of the type `echo` that are due now.
/// Submits tasks of a type; returns their ids, oldest first.
pub(crate) async fn submit_as(db: &PgPool, task_name: &str, count: usize) -> Vec<TaskId> {
    let tasks: Vec<NewTask> = (0..count).map(|_| a_task(task_name)).collect();
    submit(db, &tasks).await;
    tasks.iter().map(|task| task.id).collect()
}

pub(crate) async fn submit_many(db: &PgPool, count: usize) -> Vec<TaskId> {
    let tasks: Vec<NewTask> = (0..count).map(|_| a_task("echo")).collect();
    submit(db, &tasks).await;
    tasks.iter().map(|task| task.id).collect()
}

/// Registers a worker that registers `echo`.
pub(crate) async fn enter_worker(db: &PgPool, id: &str) {
    register(db, &a_worker(id)).await.expect("the worker is entered");
}

/// Claims `ids` for a worker that serves the three classes, registers `echo`, and runs no suspect.
pub(crate) async fn claim_as(db: &PgPool, worker_id: &str, ids: &[TaskId]) -> Claim {
    claim(
        db,
        &claimant(worker_id, &QueueName::classes(), &["echo".to_owned()]),
        ids,
    )
    .await
    .expect("a claim is answered")
}

/// The claiming worker, which runs no suspect.
pub(crate) fn claimant<'a>(
    worker_id: &'a str,
    queues: &'a [QueueName],
    task_names: &'a [String],
) -> Claimant<'a> {
    Claimant {
        worker_id,
        queues,
        task_names,
        runs_suspect: false,
    }
}

/// Claims one task, which must be pending.
pub(crate) async fn run_of(db: &PgPool, worker_id: &str, id: TaskId) -> Run {
    let claim = claim_as(db, worker_id, &[id]).await;
    assert_eq!(claim.tasks.len(), 1, "{id} was not claimed");
    claim.tasks[0].run
}

/// A run that returned `result`.
pub(crate) fn success(run: Run, result: &str) -> Success {
    Success {
        run,
        result: result.to_owned(),
        progress: None,
    }
}

/// Completes one run with `{}`, and returns the state in which its task ended.
pub(crate) async fn finish(db: &PgPool, worker_id: &str, run: Run) -> Vec<(TaskId, TaskStatus)> {
    complete(db, worker_id, &[success(run, "{}")])
        .await
        .expect("a completion is answered")
}

/// A run that ended with `verdict`.
pub(crate) fn ended(run: Run, verdict: Verdict) -> EndedRun {
    EndedRun {
        run,
        verdict,
        reason: "failed",
        error: Some("no route".to_owned()),
    }
}

/// Submits a task that ends as a dead letter at once, and returns its id.
pub(crate) async fn a_dead_letter(db: &PgPool, worker_id: &str, task: NewTask) -> TaskId {
    let id = submit_one(db, task).await;
    let run = run_of(db, worker_id, id).await;
    let verdict = Verdict::DeadLetter(DeadLetterReason::Exhausted);
    let gone = end_runs(db, worker_id, &[ended(run, verdict)])
        .await
        .expect("the run ends");
    assert_eq!(gone.len(), 1);
    id
}

/// The record of a task that exists.
pub(crate) async fn record(db: &PgPool, id: TaskId) -> TaskRecord {
    records::get(db, id)
        .await
        .expect("the record can be read")
        .expect("the task exists")
}

/// Returns the number of rows of both tables that hold a task.
pub(crate) async fn rows_of(db: &PgPool, id: TaskId) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM task_records WHERE id = $1")
        .bind(id)
        .fetch_one(db)
        .await
        .expect("the view can be read")
}

/// Runs a statement that only the test needs.
pub(crate) async fn execute(db: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(db).await.expect(statement);
}

/// Opens `count` separate connections.
pub(crate) async fn connections(db: &PgPool, count: usize) -> Vec<PgConnection> {
    let options = db.connect_options();
    join_all((0..count).map(|_| options.connect()))
        .await
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("Postgres takes more connections")
}

/// A pool on the same database with room for `count` statements at once. Close it before the test ends.
pub(crate) async fn wide_pool(db: &PgPool, count: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(count)
        .connect_with((*db.connect_options()).clone())
        .await
        .expect("Postgres takes more connections")
}
