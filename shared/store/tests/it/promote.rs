use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::{Hint, QueueName, TaskId, TaskStatus};
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::insert::{Due, NewTask};
use tasker_store::promote::{next_due_in, promote};
use tasker_testkit::a_task;

use super::support::{connections, ended, enter_worker, execute, record, run_of, submit, submit_one};

fn later(seconds: f64) -> NewTask {
    NewTask {
        due: Due::InSeconds(seconds),
        ..a_task("echo")
    }
}

/// Makes every waiting task due.
async fn all_due(db: &PgPool) {
    execute(
        db,
        "UPDATE tasks SET run_at = now() WHERE status IN ('scheduled', 'retry_scheduled')",
    )
    .await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn only_what_is_due_becomes_pending(db: PgPool) {
    enter_worker(&db, "w").await;
    let low = NewTask {
        queue: QueueName::low(),
        ..later(60.0)
    };
    let first = submit_one(&db, low).await;
    let retried = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", retried).await;
    let verdict = Verdict::RetryIn(Duration::from_mins(1));
    end_runs(&db, "w", &[ended(run, verdict)])
        .await
        .expect("an answer");
    assert!(promote(&db, 100).await.expect("an answer").is_empty());

    all_due(&db).await;
    let not_yet = submit_one(&db, later(60.0)).await;
    let promoted = promote(&db, 100).await.expect("an answer");
    assert_eq!(
        promoted,
        [
            Hint::new(first, QueueName::low(), "echo"),
            Hint::new(retried, QueueName::default_class(), "echo")
        ]
    );
    for id in [first, retried] {
        let record = record(&db, id).await;
        assert_eq!(record.status, TaskStatus::Pending);
        assert_eq!(record.enqueued_at, Some(record.updated_at));
    }
    assert_eq!(record(&db, not_yet).await.status, TaskStatus::Scheduled);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_urgent_task_that_becomes_due_goes_to_the_head_of_its_list(db: PgPool) {
    let usual = submit_one(&db, later(60.0)).await;
    let urgent = NewTask {
        priority: 51,
        ..later(60.0)
    };
    let urgent = submit_one(&db, urgent).await;
    all_due(&db).await;
    let promoted = promote(&db, 100).await.expect("an answer");
    let ends: Vec<_> = promoted.iter().map(|hint| (hint.id, hint.urgent)).collect();
    assert_eq!(ends, [(usual, false), (urgent, true)]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn no_more_than_the_limit_and_the_longest_due_first(db: PgPool) {
    let mut ids = Vec::new();
    for seconds in [30.0, 20.0, 10.0] {
        ids.push(submit_one(&db, later(seconds)).await);
    }
    execute(&db, "UPDATE tasks SET run_at = run_at - interval '1 minute'").await;
    let promoted = promote(&db, 2).await.expect("an answer");
    assert_eq!(promoted.iter().map(|hint| hint.id).collect::<Vec<_>>(), ids[1..]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn two_who_promote_at_once_promote_each_task_once(db: PgPool) {
    let tasks: Vec<NewTask> = (0..1000).map(|_| later(60.0)).collect();
    submit(&db, &tasks).await;
    all_due(&db).await;
    let promoters = connections(&db, 8).await;
    let promoted = join_all(promoters.into_iter().map(async |mut connection| {
        let mut mine: Vec<TaskId> = Vec::new();
        loop {
            let some = promote(&mut connection, 50).await.expect("an answer");
            if some.is_empty() {
                return mine;
            }
            mine.extend(some.into_iter().map(|hint| hint.id));
        }
    }))
    .await
    .concat();
    assert_eq!(promoted.len(), 1000);
    assert_eq!(promoted.into_iter().collect::<HashSet<_>>().len(), 1000);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_next_due_time_is_returned(db: PgPool) {
    submit_one(&db, a_task("echo")).await;
    assert_eq!(next_due_in(&db).await.expect("an answer"), None);
    submit_one(&db, later(3600.0)).await;
    submit_one(&db, later(60.0)).await;
    let wait = next_due_in(&db).await.expect("an answer").expect("one waits");
    assert!(
        wait > Duration::from_secs(30) && wait <= Duration::from_mins(1),
        "{wait:?}"
    );
    all_due(&db).await;
    assert_eq!(next_due_in(&db).await.expect("an answer"), Some(Duration::ZERO));
}
