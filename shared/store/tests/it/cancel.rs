use futures_util::future::{join, join_all};
use sqlx::PgPool;
use tasker_core::task::{Hint, QueueName, TaskId, TaskStatus};
use tasker_store::cancel::{Cancelled, cancel, cancel_requested};
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::history::events;
use tasker_store::insert::{Due, NewTask};
use tasker_store::operator_retry::retry;
use tasker_testkit::a_task;

use super::support::{
    KEY_TTL, a_dead_letter, claim_as, ended, enter_worker, finish, record, rows_of, run_of, submit_many,
    submit_one, wide_pool,
};

async fn ask(db: &PgPool, id: TaskId) -> Cancelled {
    cancel(db, id, "me").await.expect("an answer")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_waits_is_cancelled_at_once(db: PgPool) {
    enter_worker(&db, "w").await;
    let pending = submit_one(&db, a_task("echo")).await;
    let scheduled = NewTask {
        due: Due::InSeconds(60.0),
        ..a_task("echo")
    };
    let scheduled = submit_one(&db, scheduled).await;
    let retried = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", retried).await;
    let verdict = Verdict::RetryIn(std::time::Duration::from_mins(1));
    end_runs(&db, "w", &[ended(run, verdict)])
        .await
        .expect("an answer");

    for (id, from, attempts) in [
        (pending, TaskStatus::Pending, 0),
        (scheduled, TaskStatus::Scheduled, 0),
        (retried, TaskStatus::RetryScheduled, 1),
    ] {
        let hint = (from == TaskStatus::Pending).then(|| Hint::new(id, QueueName::default_class(), "echo"));
        assert_eq!(ask(&db, id).await, Cancelled::Now(hint), "{from}");
        let record = record(&db, id).await;
        assert_eq!(
            (record.status, record.attempts),
            (TaskStatus::Cancelled, attempts)
        );
        assert!(record.completed_at.is_some());
        assert_eq!(rows_of(&db, id).await, 1);
        let events = events(&db, id).await.expect("events");
        let last = events.last().expect("an event");
        assert_eq!((last.from, last.to), (Some(from), TaskStatus::Cancelled));
        assert_eq!(last.actor.as_deref(), Some("me"));
        assert_eq!(ask(&db, id).await, Cancelled::AlreadyOver(TaskStatus::Cancelled));
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_running_task_gets_one_request_to_cancel(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 2).await;
    let runs = [run_of(&db, "w", ids[0]).await, run_of(&db, "w", ids[1]).await];
    assert!(cancel_requested(&db, "w").await.expect("an answer").is_empty());
    assert_eq!(ask(&db, ids[1]).await, Cancelled::Requested);
    assert_eq!(ask(&db, ids[1]).await, Cancelled::Requested);
    assert_eq!(cancel_requested(&db, "w").await.expect("an answer"), [runs[1]]);
    assert!(
        cancel_requested(&db, "other")
            .await
            .expect("an answer")
            .is_empty()
    );
    assert_eq!(record(&db, ids[1]).await.status, TaskStatus::Running);
    let events = events(&db, ids[1]).await.expect("events");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].reason.as_deref(), Some("cancel_requested"));
    assert_eq!(
        (events[0].from, events[0].to),
        (Some(TaskStatus::Running), TaskStatus::Running)
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_terminal_or_unknown_task_cannot_be_cancelled(db: PgPool) {
    enter_worker(&db, "w").await;
    let done = submit_one(&db, a_task("echo")).await;
    finish(&db, "w", run_of(&db, "w", done).await).await;
    let dead = a_dead_letter(&db, "w", a_task("echo")).await;
    assert_eq!(
        ask(&db, done).await,
        Cancelled::AlreadyOver(TaskStatus::Completed)
    );
    assert_eq!(
        ask(&db, dead).await,
        Cancelled::AlreadyOver(TaskStatus::DeadLetter)
    );
    assert_eq!(ask(&db, TaskId::generate()).await, Cancelled::NotFound);
    assert_eq!(record(&db, done).await.status, TaskStatus::Completed);
    assert_eq!(record(&db, dead).await.status, TaskStatus::DeadLetter);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn of_a_cancel_and_a_claim_at_once_neither_loses_the_task(db: PgPool) {
    enter_worker(&db, "w").await;
    let wide = wide_pool(&db, 20).await;
    for _ in 0..10 {
        let ids = submit_many(&wide, 20).await;
        let asked = async { join_all(ids.iter().map(async |id| (*id, ask(&wide, *id).await))).await };
        let (asked, claim) = join(asked, claim_as(&wide, "w", &ids)).await;
        let told = cancel_requested(&wide, "w").await.expect("an answer");
        for (id, answer) in asked {
            let run = claim
                .tasks
                .iter()
                .find(|task| task.run.task == id)
                .map(|task| task.run);
            match answer {
                Cancelled::Now(_) => assert_eq!(run, None, "it was cancelled and ran"),
                Cancelled::Requested => {
                    assert!(told.contains(&run.expect("it ran")), "no request was reported");
                }
                other => panic!("{other:?}"),
            }
            if let Some(run) = run {
                assert_eq!(finish(&wide, "w", run).await, [(id, TaskStatus::Cancelled)]);
            }
            assert_eq!(record(&wide, id).await.status, TaskStatus::Cancelled);
            assert_eq!(rows_of(&wide, id).await, 1);
        }
    }
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn of_a_cancel_and_a_completion_at_once_the_task_ends_once_and_both_agree(db: PgPool) {
    enter_worker(&db, "w").await;
    let wide = wide_pool(&db, 20).await;
    let ids = submit_many(&wide, 200).await;
    let claim = claim_as(&wide, "w", &ids).await;
    for chunk in claim.tasks.chunks(10) {
        join_all(chunk.iter().map(async |task| {
            let (asked, done) = join(ask(&wide, task.run.task), finish(&wide, "w", task.run)).await;
            let [(_, status)] = done[..] else {
                panic!("it was not completed")
            };
            match asked {
                Cancelled::Requested => assert_eq!(status, TaskStatus::Cancelled),
                Cancelled::AlreadyOver(over) => assert_eq!((over, status), (TaskStatus::Completed, over)),
                other => panic!("{other:?}"),
            }
        }))
        .await;
    }
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_cancel_while_an_operator_retries_never_calls_a_live_task_over(db: PgPool) {
    let wide = wide_pool(&db, 8).await;
    let id = submit_one(&wide, a_task("echo")).await;
    let cancelling = join_all((0..4).map(async |_| {
        for _ in 0..150 {
            match ask(&wide, id).await {
                Cancelled::Now(_) | Cancelled::AlreadyOver(TaskStatus::Cancelled) => {}
                other => panic!("{other:?}"),
            }
        }
    }));
    let retrying = join_all((0..4).map(async |_| {
        for _ in 0..150 {
            retry(&wide, id, "me", KEY_TTL).await.expect("an answer");
        }
    }));
    join(cancelling, retrying).await;
    assert_eq!(rows_of(&wide, id).await, 1);
    wide.close().await;
}
