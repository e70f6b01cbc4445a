use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{Run, TaskStatus};
use tasker_store::cancel::cancel;
use tasker_store::end_runs::{EndedRun, Verdict, end_runs};
use tasker_store::history::events;
use tasker_testkit::a_task;

use super::support::{ended, enter_worker, record, rows_of, run_of, submit_many, submit_one};

const RETRY: Verdict = Verdict::RetryIn(Duration::from_millis(90_250));

async fn end(db: &PgPool, run: Run, verdict: Verdict) -> Option<TaskStatus> {
    let ended = end_runs(db, "w", &[ended(run, verdict)])
        .await
        .expect("an answer");
    assert!(
        ended
            .iter()
            .all(|ended| ended.id == run.task && ended.queue.as_str() == "default")
    );
    ended.first().map(|ended| ended.status)
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_failed_attempt_is_due_again_after_its_wait(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    assert_eq!(end(&db, run, RETRY).await, Some(TaskStatus::RetryScheduled));
    let record = record(&db, id).await;
    assert_eq!(record.status, TaskStatus::RetryScheduled);
    assert_eq!((record.runs, record.attempts), (1, 1));
    let wait = record.run_at.expect("a time") - record.updated_at;
    assert_eq!(wait, TimeDelta::milliseconds(90_250));
    assert_eq!(record.error.as_deref(), Some("no route"));
    assert!(record.worker_id.is_none() && record.started_at.is_none() && record.reason.is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_dead_letter_stays_alive_with_its_reason(db: PgPool) {
    use DeadLetterReason::{CrashLoop, Exhausted, Failed, Timeout};
    enter_worker(&db, "w").await;
    for reason in [Exhausted, Failed, Timeout, CrashLoop] {
        let id = submit_one(&db, a_task("echo")).await;
        let run = run_of(&db, "w", id).await;
        let status = end(&db, run, Verdict::DeadLetter(reason)).await;
        assert_eq!(status, Some(TaskStatus::DeadLetter));
        let record = record(&db, id).await;
        assert_eq!(record.reason.as_deref(), Some(reason.as_str()));
        assert_eq!((record.status, record.attempts), (TaskStatus::DeadLetter, 1));
        assert!(record.started_at.is_some() && record.completed_at.is_none());
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_released_run_keeps_its_place_and_counts_no_attempt(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let before = record(&db, id).await;
    let run = run_of(&db, "w", id).await;
    let back = EndedRun {
        run,
        verdict: Verdict::Released,
        reason: "released",
        error: None,
    };
    let ended = end_runs(&db, "w", &[back]).await.expect("an answer");
    assert_eq!(ended[0].status, TaskStatus::Pending);
    let after = record(&db, id).await;
    assert_eq!(after.status, TaskStatus::Pending);
    assert_eq!((after.runs, after.attempts, after.crash_count), (1, 0, 0));
    assert_eq!(after.enqueued_at, before.enqueued_at);
    assert!(after.worker_id.is_none() && after.started_at.is_none() && after.error.is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_cancel_wins_over_every_verdict(db: PgPool) {
    enter_worker(&db, "w").await;
    let verdicts = [
        RETRY,
        Verdict::DeadLetter(DeadLetterReason::Failed),
        Verdict::Released,
    ];
    for (verdict, attempts) in verdicts.into_iter().zip([1, 1, 0]) {
        let id = submit_one(&db, a_task("echo")).await;
        let run = run_of(&db, "w", id).await;
        cancel(&db, id, "me").await.expect("an answer");
        assert_eq!(
            end(&db, run, verdict).await,
            Some(TaskStatus::Cancelled),
            "{verdict:?}"
        );
        let record = record(&db, id).await;
        assert_eq!(
            (record.status, record.attempts),
            (TaskStatus::Cancelled, attempts)
        );
        assert_eq!((record.reason, record.result), (None, None));
        assert!(record.completed_at.is_some());
        let history = events(&db, id).await.expect("an answer");
        assert_eq!(
            history.last().and_then(|event| event.reason.as_deref()),
            Some("cancelled")
        );
        assert_eq!(rows_of(&db, id).await, 1);
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_late_run_or_another_worker_ends_no_task_and_writes_no_event(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    let others = end_runs(&db, "other", &[ended(run, RETRY)])
        .await
        .expect("an answer");
    assert!(others.is_empty());
    let wrong = Run { number: 2, ..run };
    assert_eq!(end(&db, wrong, RETRY).await, None);
    assert_eq!(record(&db, id).await.status, TaskStatus::Running);
    assert_eq!(end(&db, run, RETRY).await, Some(TaskStatus::RetryScheduled));
    assert_eq!(end(&db, run, RETRY).await, None, "a second time finds nothing");
    assert_eq!(record(&db, id).await.attempts, 1);
    assert_eq!(events(&db, id).await.expect("events").len(), 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn many_runs_end_each_in_its_own_way_oldest_first(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 4).await;
    let mut runs = Vec::new();
    for id in &ids {
        runs.push(run_of(&db, "w", *id).await);
    }
    cancel(&db, ids[3], "me").await.expect("an answer");
    let verdicts = [
        RETRY,
        Verdict::DeadLetter(DeadLetterReason::Timeout),
        Verdict::Released,
        RETRY,
    ];
    let mut all: Vec<EndedRun> = runs
        .into_iter()
        .zip(verdicts)
        .map(|(run, v)| ended(run, v))
        .collect();
    all.reverse();
    let done = end_runs(&db, "w", &all).await.expect("an answer");
    let done: Vec<_> = done.iter().map(|ended| (ended.id, ended.status)).collect();
    let states = [
        TaskStatus::RetryScheduled,
        TaskStatus::DeadLetter,
        TaskStatus::Pending,
        TaskStatus::Cancelled,
    ];
    assert_eq!(done, ids.iter().copied().zip(states).collect::<Vec<_>>());
    for (id, status) in ids.into_iter().zip(states) {
        assert_eq!(record(&db, id).await.status, status);
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn every_ended_run_leaves_an_event_with_its_reason_and_times(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let first = run_of(&db, "w", id).await;
    let running = record(&db, id).await;
    let back = EndedRun {
        run: first,
        verdict: Verdict::Released,
        reason: "released",
        error: None,
    };
    end_runs(&db, "w", &[back]).await.expect("an answer");
    let second = run_of(&db, "w", id).await;
    end(&db, second, Verdict::DeadLetter(DeadLetterReason::Failed)).await;

    let events = events(&db, id).await.expect("events");
    let [given_back, failed] = &events[..] else {
        panic!("two events, not {}", events.len())
    };
    assert_eq!(
        (given_back.from, given_back.to),
        (Some(TaskStatus::Running), TaskStatus::Pending)
    );
    assert_eq!((given_back.run, given_back.attempt), (Some(1), None));
    assert_eq!(given_back.worker_id.as_deref(), Some("w"));
    assert_eq!(given_back.reason.as_deref(), Some("released"));
    assert_eq!(
        (given_back.enqueued_at, given_back.started_at),
        (running.enqueued_at, running.started_at)
    );
    assert_eq!(
        (failed.from, failed.to),
        (Some(TaskStatus::Running), TaskStatus::DeadLetter)
    );
    assert_eq!((failed.run, failed.attempt), (Some(2), Some(1)));
    assert_eq!(
        (failed.reason.as_deref(), failed.error.as_deref()),
        (Some("failed"), Some("no route"))
    );
    assert!(failed.at > given_back.at && failed.actor.is_none());
}
