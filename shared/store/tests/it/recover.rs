use sqlx::PgPool;
use tasker_core::task::retry::Backoff;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_store::cancel::cancel;
use tasker_store::history::events;
use tasker_store::insert::NewTask;
use tasker_store::recover::{
    declare_dead, end_overdue, fleet_is_unhealthy, forget_dead, reclaim_lost_claims, recover,
};
use tasker_store::workers::{Work, heartbeat};
use tasker_testkit::a_task;

use super::support::{
    WORKER_TIMEOUT, claim_as, enter_worker, execute, finish, record, run_of, submit_many, submit_one,
};

/// Makes the heartbeats of all live workers overdue, and declares the workers dead.
async fn all_die(db: &PgPool) -> Vec<String> {
    execute(
        db,
        "UPDATE workers SET last_heartbeat = now() - interval '1 hour' WHERE status <> 'dead'",
    )
    .await;
    declare_dead(db, WORKER_TIMEOUT).await.expect("an answer")
}

/// Recovers the runs of dead workers, and returns the new state of each task.
async fn recovered(db: &PgPool) -> Vec<(TaskId, TaskStatus)> {
    let ended = recover(db, 1_000).await.expect("an answer");
    ended.into_iter().map(|ended| (ended.id, ended.status)).collect()
}

/// Lets a worker claim the task and die; returns the state that recovery gives the task.
async fn dies_with(db: &PgPool, worker: &str, id: TaskId) -> TaskStatus {
    enter_worker(db, worker).await;
    run_of(db, worker, id).await;
    assert_eq!(all_die(db).await, [worker]);
    let state = recovered(db).await[0].1;
    // long enough ago for the next death to be attributed by itself
    execute(db, "UPDATE workers SET died_at = died_at - interval '1 minute'").await;
    state
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_tasks_of_a_worker_that_died_go_back_to_their_places(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let before = record(&db, id).await;
    run_of(&db, "w", id).await;
    assert_eq!(all_die(&db).await, ["w"]);
    assert_eq!(recovered(&db).await, [(id, TaskStatus::Pending)]);
    let after = record(&db, id).await;
    assert_eq!(after.enqueued_at, before.enqueued_at);
    assert_eq!((after.runs, after.attempts, after.crash_count), (1, 0, 1));
    let history = events(&db, id).await.expect("an answer");
    assert_eq!(history[0].reason.as_deref(), Some("worker_lost"));
    assert_eq!((history[0].run, history[0].attempt), (Some(1), None));
    assert!(recovered(&db).await.is_empty(), "recovered twice");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_tasks_of_a_worker_that_lives_stay_and_those_of_an_unknown_one_go_back(db: PgPool) {
    enter_worker(&db, "alive").await;
    enter_worker(&db, "unknown").await;
    let kept = submit_one(&db, a_task("echo")).await;
    let lost = submit_one(&db, a_task("echo")).await;
    run_of(&db, "alive", kept).await;
    run_of(&db, "unknown", lost).await;
    execute(&db, "DELETE FROM workers WHERE id = 'unknown'").await;
    assert!(
        declare_dead(&db, WORKER_TIMEOUT)
            .await
            .expect("an answer")
            .is_empty()
    );
    assert_eq!(recovered(&db).await, [(lost, TaskStatus::Pending)]);
    assert_eq!(record(&db, kept).await.status, TaskStatus::Running);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_was_declared_dead_stays_dead_and_its_late_write_changes_nothing(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    all_die(&db).await;
    recovered(&db).await;
    assert!(
        !heartbeat(&db, "w", Work::default(), WORKER_TIMEOUT)
            .await
            .expect("an answer")
            .alive
    );
    assert!(finish(&db, "w", run).await.is_empty());
    assert_eq!(record(&db, id).await.status, TaskStatus::Pending);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_with_a_request_to_cancel_ends_cancelled_when_its_worker_dies(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    run_of(&db, "w", id).await;
    cancel(&db, id, "test").await.expect("an answer");
    all_die(&db).await;
    assert_eq!(recovered(&db).await, [(id, TaskStatus::Cancelled)]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_whose_third_worker_dies_is_quarantined(db: PgPool) {
    let id = submit_one(&db, a_task("echo")).await;
    assert_eq!(dies_with(&db, "w1", id).await, TaskStatus::Pending);
    assert_eq!(dies_with(&db, "w2", id).await, TaskStatus::Pending);
    assert_eq!(dies_with(&db, "w3", id).await, TaskStatus::DeadLetter);
    let record = record(&db, id).await;
    assert_eq!(record.reason.as_deref(), Some("crash_loop"));
    assert_eq!((record.crash_count, record.attempts), (3, 0));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_fleet_that_dies_together_accuses_no_task_until_its_tenth_crash(db: PgPool) {
    let suspect = submit_one(&db, a_task("echo")).await;
    execute(&db, "UPDATE tasks SET crash_count = 5").await;
    for worker in ["a", "b", "c", "d"] {
        enter_worker(&db, worker).await;
    }
    run_of(&db, "a", suspect).await;
    assert_eq!(all_die(&db).await.len(), 4);
    assert!(fleet_is_unhealthy(&db).await.expect("an answer"));
    assert_eq!(recovered(&db).await, [(suspect, TaskStatus::Pending)]);
    execute(&db, "UPDATE tasks SET crash_count = 9").await;
    assert_eq!(dies_with(&db, "e", suspect).await, TaskStatus::DeadLetter);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_dead_worker_is_forgotten_when_no_running_task_names_it(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    run_of(&db, "w", id).await;
    all_die(&db).await;
    assert_eq!(forget_dead(&db, 0.0).await.expect("an answer"), 0);
    recovered(&db).await;
    assert_eq!(forget_dead(&db, 3600.0).await.expect("an answer"), 0);
    assert_eq!(forget_dead(&db, 0.0).await.expect("an answer"), 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_run_that_its_worker_does_not_know_of_is_reclaimed_after_its_next_heartbeat(db: PgPool) {
    enter_worker(&db, "w").await;
    let held = submit_one(&db, a_task("echo")).await;
    let lost = submit_one(&db, a_task("echo")).await;
    let held_run = run_of(&db, "w", held).await;
    run_of(&db, "w", lost).await;
    let unheld = async || {
        let ended = reclaim_lost_claims(&db, "w", &[held_run])
            .await
            .expect("an answer");
        ended
            .into_iter()
            .map(|ended| (ended.id, ended.status))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        unheld().await,
        [],
        "a claim of this moment may still be on its way"
    );
    heartbeat(&db, "w", Work::default(), WORKER_TIMEOUT)
        .await
        .expect("an answer");
    assert_eq!(unheld().await, [(lost, TaskStatus::Pending)]);
    let record = record(&db, lost).await;
    assert_eq!((record.runs, record.attempts, record.crash_count), (1, 0, 0));
    assert_eq!(finish(&db, "w", held_run).await.len(), 1);
}

/// Lets a worker claim pending tasks; it dies if `poison` is among them, or else completes them all. Returns
/// whether it claimed any.
async fn a_life(db: &PgPool, worker: &str, tasks: &[TaskId], poison: TaskId) -> bool {
    enter_worker(db, worker).await;
    // deferred tasks are due again
    execute(
        db,
        "UPDATE tasks SET status = 'pending', run_at = NULL WHERE status = 'scheduled'",
    )
    .await;
    let claim = claim_as(db, worker, tasks).await;
    if claim.tasks.iter().any(|task| task.run.task == poison) {
        assert_eq!(all_die(db).await, [worker]);
        recovered(db).await;
    } else {
        for task in &claim.tasks {
            finish(db, worker, task.run).await;
        }
        execute(db, "DELETE FROM workers WHERE status = 'alive'").await;
    }
    !claim.tasks.is_empty()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn tasks_beside_a_poison_task_are_never_dead_lettered(db: PgPool) {
    let tasks = submit_many(&db, 256).await;
    // the last to be claimed: all others are suspects before it
    let poison = tasks[255];
    let mut lives = 0;
    while a_life(&db, &format!("w{lives}"), &tasks, poison).await {
        lives += 1;
        assert!(lives < 300, "it does not end");
    }
    let dead = record(&db, poison).await;
    assert_eq!(dead.status, TaskStatus::DeadLetter);
    assert_eq!(dead.reason.as_deref(), Some("crash_loop"));
    for id in &tasks[..255] {
        let other = record(&db, *id).await;
        assert_eq!(other.status, TaskStatus::Completed);
        assert!(other.crash_count <= 2, "{} crashes", other.crash_count);
    }
}

/// Makes the run of a task exceed its timeout by this number of seconds.
async fn overrun(db: &PgPool, id: TaskId, seconds: f64) {
    let sql =
        "UPDATE tasks SET started_at = now() - make_interval(secs => timeout_seconds + $2) WHERE id = $1";
    sqlx::query(sql)
        .bind(id)
        .bind(seconds)
        .execute(db)
        .await
        .expect("the run is overdue");
}

async fn overdue(db: &PgPool) -> Vec<(TaskId, TaskStatus)> {
    let ended = end_overdue(db, WORKER_TIMEOUT, 1_000).await.expect("an answer");
    ended.into_iter().map(|ended| (ended.id, ended.status)).collect()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_run_that_outlives_its_timeout_by_far_is_an_attempt_that_timed_out(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(
        &db,
        NewTask {
            max_attempts: 2,
            ..a_task("echo")
        },
    )
    .await;
    let first = run_of(&db, "w", id).await;
    overrun(&db, id, WORKER_TIMEOUT - 5.0).await;
    assert_eq!(overdue(&db).await, [], "its worker may still end it");
    overrun(&db, id, WORKER_TIMEOUT + 1.0).await;
    assert_eq!(overdue(&db).await, [(id, TaskStatus::RetryScheduled)]);
    assert!(finish(&db, "w", first).await.is_empty(), "a late write");
    let retried = record(&db, id).await;
    assert_eq!((retried.runs, retried.attempts, retried.crash_count), (1, 1, 0));
    let wait = retried.run_at.expect("when it is tried again") - retried.updated_at;
    let longest = Backoff::default().delay(1, 1.0);
    assert!(wait.to_std().is_ok_and(|wait| wait <= longest), "{wait}");
    let history = events(&db, id).await.expect("an answer");
    assert_eq!(history[0].reason.as_deref(), Some("timeout"));
    assert_eq!((history[0].run, history[0].attempt), (Some(1), Some(1)));

    execute(&db, "UPDATE tasks SET status = 'pending', run_at = NULL").await;
    run_of(&db, "w", id).await;
    overrun(&db, id, WORKER_TIMEOUT + 1.0).await;
    assert_eq!(overdue(&db).await, [(id, TaskStatus::DeadLetter)]);
    assert_eq!(record(&db, id).await.reason.as_deref(), Some("timeout"));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_overdue_run_ends_cancelled_if_that_was_requested_and_stays_if_its_worker_is_dead(db: PgPool) {
    enter_worker(&db, "w").await;
    enter_worker(&db, "dead").await;
    let cancelled = submit_one(&db, a_task("echo")).await;
    let lost = submit_one(&db, a_task("echo")).await;
    run_of(&db, "w", cancelled).await;
    run_of(&db, "dead", lost).await;
    cancel(&db, cancelled, "test").await.expect("an answer");
    execute(
        &db,
        "UPDATE workers SET status = 'dead', died_at = now() WHERE id = 'dead'",
    )
    .await;
    for id in [cancelled, lost] {
        overrun(&db, id, WORKER_TIMEOUT + 1.0).await;
    }
    assert_eq!(overdue(&db).await, [(cancelled, TaskStatus::Cancelled)]);
    assert_eq!(recovered(&db).await, [(lost, TaskStatus::Pending)]);
}
