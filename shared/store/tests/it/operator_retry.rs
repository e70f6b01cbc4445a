use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::{Hint, QueueName, TaskId, TaskStatus};
use tasker_store::cancel::cancel;
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::history::events;
use tasker_store::idempotency_keys::holders;
use tasker_store::insert::{Due, NewTask};
use tasker_store::operator_retry::{Retried, retry};
use tasker_testkit::{a_key, a_task};

use super::support::{
    KEY_TTL, a_dead_letter, ended, enter_worker, execute, finish, record, rows_of, run_of, submit_one,
    wide_pool,
};

async fn ask(db: &PgPool, id: TaskId) -> Retried {
    retry(db, id, "me", KEY_TTL).await.expect("an answer")
}

fn pending(id: TaskId) -> Retried {
    Retried::Pending(Hint::new(id, QueueName::default_class(), "echo"))
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_cancelled_before_its_time_is_due_at_once_when_retried(db: PgPool) {
    let later = NewTask {
        due: Due::InSeconds(3600.0),
        ..a_task("echo")
    };
    let id = submit_one(&db, later).await;
    cancel(&db, id, "me").await.expect("an answer");
    assert_eq!(ask(&db, id).await, pending(id));
    let record = record(&db, id).await;
    assert_eq!((record.status, record.run_at), (TaskStatus::Pending, None));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_urgent_task_goes_to_the_head_of_its_list_when_retried(db: PgPool) {
    enter_worker(&db, "w").await;
    let urgent = || NewTask {
        priority: 51,
        ..a_task("echo")
    };
    let dead = a_dead_letter(&db, "w", urgent()).await;
    let cancelled = a_cancelled_task(&db, urgent()).await;
    for id in [dead, cancelled] {
        let hint = Hint::new(id, QueueName::default_class(), "echo").with_priority(51);
        assert_eq!(ask(&db, id).await, Retried::Pending(hint));
    }
}

fn keyed() -> NewTask {
    NewTask {
        key: a_key("k"),
        ..a_task("echo")
    }
}

/// Inserts a task that ran once without success and was then cancelled.
async fn a_cancelled_task(db: &PgPool, task: NewTask) -> TaskId {
    let id = submit_one(db, task).await;
    let run = run_of(db, "w", id).await;
    let verdict = Verdict::RetryIn(std::time::Duration::from_mins(1));
    end_runs(db, "w", &[ended(run, verdict)])
        .await
        .expect("an answer");
    cancel(db, id, "me").await.expect("an answer");
    id
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_dead_letter_runs_again_from_its_first_attempt(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = a_dead_letter(&db, "w", a_task("echo")).await;
    execute(&db, "UPDATE tasks SET crash_count = 3").await;
    assert_eq!(ask(&db, id).await, pending(id));
    let record = record(&db, id).await;
    assert_eq!(record.status, TaskStatus::Pending);
    assert_eq!((record.runs, record.attempts, record.crash_count), (1, 0, 0));
    assert_eq!(
        (record.reason, record.error, record.started_at),
        (None, None, None)
    );
    assert_eq!(record.enqueued_at, Some(record.updated_at));
    let events = events(&db, id).await.expect("events");
    let last = events.last().expect("an event");
    assert_eq!(
        (last.from, last.to),
        (Some(TaskStatus::DeadLetter), TaskStatus::Pending)
    );
    assert_eq!(
        (last.reason.as_deref(), last.actor.as_deref()),
        (Some("retried"), Some("me"))
    );
    assert_eq!(run_of(&db, "w", id).await.number, 2);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_cancelled_task_moves_back_with_its_runs(db: PgPool) {
    enter_worker(&db, "w").await;
    let task = NewTask {
        parameters: r#"{"a":1}"#.to_owned(),
        tags: vec!["t".to_owned()],
        traceparent: Some("00-1-2-01".to_owned()),
        ..a_task("echo")
    };
    let id = a_cancelled_task(&db, task).await;
    let before = record(&db, id).await;
    assert_eq!(ask(&db, id).await, pending(id));
    let after = record(&db, id).await;
    assert_eq!((after.status, after.completed_at), (TaskStatus::Pending, None));
    assert_eq!((after.runs, after.attempts, after.crash_count), (1, 0, 0));
    assert_eq!((after.parameters, after.tags), (before.parameters, before.tags));
    assert_eq!(after.created_at, before.created_at);
    assert_eq!(rows_of(&db, id).await, 1);
    let run = run_of(&db, "w", id).await;
    assert_eq!(run.number, 2);
    assert_eq!(finish(&db, "w", run).await, [(id, TaskStatus::Completed)]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn from_other_states_there_is_no_retry(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, keyed()).await;
    assert_eq!(ask(&db, id).await, Retried::WrongState(TaskStatus::Pending));
    let run = run_of(&db, "w", id).await;
    assert_eq!(ask(&db, id).await, Retried::WrongState(TaskStatus::Running));
    finish(&db, "w", run).await;
    assert_eq!(ask(&db, id).await, Retried::WrongState(TaskStatus::Completed));
    assert_eq!(ask(&db, TaskId::generate()).await, Retried::NotFound);
    assert_eq!(record(&db, id).await.runs, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_key_is_taken_again_and_holds_as_long_as_a_new_one(db: PgPool) {
    enter_worker(&db, "w").await;
    let cancelled = a_cancelled_task(&db, keyed()).await;
    execute(&db, "UPDATE task_keys SET expires_at = now() - interval '1 day'").await;
    assert_eq!(ask(&db, cancelled).await, pending(cancelled));
    let (holder, fresh): (TaskId, bool) =
        sqlx::query_as("SELECT task_id, expires_at > now() + interval '23 hours' FROM task_keys")
            .fetch_one(&db)
            .await
            .expect("a key");
    assert_eq!((holder, fresh), (cancelled, true));

    let dead = a_dead_letter(
        &db,
        "w",
        NewTask {
            key: a_key("other"),
            ..a_task("echo")
        },
    )
    .await;
    execute(&db, "DELETE FROM task_keys").await;
    assert_eq!(ask(&db, dead).await, pending(dead));
    let holders = holders(&db, &[("echo", "other")]).await.expect("an answer");
    assert_eq!(holders[0].task_id, dead);
    assert_eq!(holders[0].fingerprint, [7; 32]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_key_that_another_live_task_holds_stands_in_the_way(db: PgPool) {
    enter_worker(&db, "w").await;
    let cancelled = a_cancelled_task(&db, keyed()).await;
    execute(&db, "DELETE FROM task_keys").await;
    let dead = a_dead_letter(&db, "w", keyed()).await;
    execute(&db, "DELETE FROM task_keys").await;
    let holder = submit_one(&db, keyed()).await;
    for id in [cancelled, dead] {
        let before = record(&db, id).await;
        assert_eq!(ask(&db, id).await, Retried::KeyTaken(Some(holder)));
        let after = record(&db, id).await;
        assert_eq!(
            (after.status, after.updated_at),
            (before.status, before.updated_at)
        );
        assert_eq!(rows_of(&db, id).await, 1);
    }

    // once the holder is terminal, its key can be taken
    finish(&db, "w", run_of(&db, "w", holder).await).await;
    assert_eq!(ask(&db, cancelled).await, pending(cancelled));
    assert_eq!(ask(&db, dead).await, Retried::KeyTaken(Some(cancelled)));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn of_many_who_retry_a_task_at_once_one_does(db: PgPool) {
    enter_worker(&db, "w").await;
    let wide = wide_pool(&db, 10).await;
    for turn in 0..10 {
        let key = a_key(&format!("k{turn}")).filter(|_| turn % 2 == 0);
        let task = NewTask {
            key,
            ..a_task("echo")
        };
        let id = if turn < 5 {
            a_dead_letter(&wide, "w", task).await
        } else {
            a_cancelled_task(&wide, task).await
        };
        let answers = join_all((0..10).map(|_| ask(&wide, id))).await;
        assert_eq!(
            answers
                .iter()
                .filter(|answer| matches!(answer, Retried::Pending(_)))
                .count(),
            1,
            "{answers:?}"
        );
        let wrong = Retried::WrongState(TaskStatus::Pending);
        assert_eq!(
            answers.iter().filter(|answer| **answer == wrong).count(),
            9,
            "{answers:?}"
        );
        assert_eq!(rows_of(&wide, id).await, 1);
        let retried = events(&wide, id).await.expect("events");
        let retried = retried
            .iter()
            .filter(|event| event.reason.as_deref() == Some("retried"));
        assert_eq!(retried.count(), 1);
    }
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn of_two_tasks_with_one_key_that_are_retried_at_once_one_runs(db: PgPool) {
    enter_worker(&db, "w").await;
    let wide = wide_pool(&db, 10).await;
    for _ in 0..10 {
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(a_cancelled_task(&wide, keyed()).await);
            execute(&wide, "DELETE FROM task_keys").await;
        }
        let answers = join_all(ids.iter().map(|id| ask(&wide, *id))).await;
        assert_eq!(
            answers
                .iter()
                .filter(|answer| matches!(answer, Retried::Pending(_)))
                .count(),
            1,
            "{answers:?}"
        );
        let live: Vec<TaskId> = sqlx::query_scalar("SELECT id FROM tasks")
            .fetch_all(&wide)
            .await
            .expect("ids");
        let holder: TaskId = sqlx::query_scalar("SELECT task_id FROM task_keys")
            .fetch_one(&wide)
            .await
            .expect("a key");
        assert_eq!(live, [holder]);
        finish(&wide, "w", run_of(&wide, "w", holder).await).await;
        execute(&wide, "DELETE FROM task_keys").await;
    }
    wide.close().await;
}
