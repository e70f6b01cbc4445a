use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::{Run, TaskStatus};
use tasker_store::ErrorKind;
use tasker_store::cancel::{Cancelled, cancel};
use tasker_store::complete::{Success, complete};
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_testkit::a_task;

use super::support::{
    claim_as, connections, ended, enter_worker, finish, record, rows_of, run_of, submit_many, submit_one,
    success,
};

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_completed_task_moves_with_its_result(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    let before = record(&db, id).await;
    let result = r#"{"b": 1.10,  "a":"🦀"}"#;
    let done = complete(&db, "w", &[success(run, result)]).await;
    assert_eq!(done.expect("an answer"), [(id, TaskStatus::Completed)]);
    let after = record(&db, id).await;
    assert_eq!(after.status, TaskStatus::Completed);
    assert_eq!(after.result.as_deref(), Some(result));
    assert_eq!((after.runs, after.attempts), (1, 1));
    assert_eq!(after.worker_id.as_deref(), Some("w"));
    assert!(after.completed_at >= after.started_at && after.completed_at.is_some());
    assert_eq!(
        (after.created_at, after.started_at),
        (before.created_at, before.started_at)
    );
    assert_eq!(rows_of(&db, id).await, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_late_run_or_another_worker_changes_no_rows_and_is_not_returned(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let late = run_of(&db, "w", id).await;
    let back = end_runs(&db, "w", &[ended(late, Verdict::Released)]).await;
    assert_eq!(back.expect("an answer").len(), 1);
    assert!(finish(&db, "w", late).await.is_empty(), "it was pending");
    let now = run_of(&db, "w", id).await;
    assert!(finish(&db, "w", late).await.is_empty(), "another run held it");
    assert!(
        finish(&db, "other", now).await.is_empty(),
        "another worker held it"
    );
    assert_eq!(record(&db, id).await.status, TaskStatus::Running);
    assert_eq!(finish(&db, "w", now).await, [(id, TaskStatus::Completed)]);
    assert_eq!(record(&db, id).await.attempts, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn runs_of_any_number_end_together_and_a_late_one_leaves_its_result_to_the_present_one(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 2).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let run = run_of(&db, "w", ids[0]).await;
        let back = end_runs(&db, "w", &[ended(run, Verdict::Released)]).await;
        back.expect("an answer");
        runs.push(success(run, "\"late\""));
    }
    runs.push(success(run_of(&db, "w", ids[0]).await, "\"present\""));
    runs.push(success(run_of(&db, "w", ids[1]).await, "\"first\""));
    let mut done = complete(&db, "w", &runs).await.expect("an answer");
    done.sort_by_key(|(id, _)| *id);
    assert_eq!(done, [0, 1].map(|at| (ids[at], TaskStatus::Completed)));
    for (id, result) in [(ids[0], "\"present\""), (ids[1], "\"first\"")] {
        assert_eq!(record(&db, id).await.result.as_deref(), Some(result));
        assert_eq!(rows_of(&db, id).await, 1);
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn completing_twice_is_completing_once(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    assert_eq!(finish(&db, "w", run).await.len(), 1);
    let ended_at = record(&db, id).await.completed_at;
    assert!(finish(&db, "w", run).await.is_empty());
    assert_eq!(record(&db, id).await.completed_at, ended_at);
    assert_eq!(rows_of(&db, id).await, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_was_cancelled_while_it_ran_ends_cancelled_without_a_result(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 2).await;
    let runs = [run_of(&db, "w", ids[0]).await, run_of(&db, "w", ids[1]).await];
    assert_eq!(
        cancel(&db, ids[0], "me").await.expect("an answer"),
        Cancelled::Requested
    );
    let both = runs.map(|run| success(run, r#"{"a":1}"#));
    let mut done = complete(&db, "w", &both).await.expect("an answer");
    done.sort_by_key(|(id, _)| *id);
    assert_eq!(
        done,
        [(ids[0], TaskStatus::Cancelled), (ids[1], TaskStatus::Completed)]
    );
    let cancelled = record(&db, ids[0]).await;
    assert_eq!(
        (cancelled.status, cancelled.result),
        (TaskStatus::Cancelled, None)
    );
    assert_eq!(cancelled.attempts, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn twenty_who_complete_the_same_runs_end_each_once(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 200).await;
    let runs: Vec<Run> = claim_as(&db, "w", &ids)
        .await
        .tasks
        .iter()
        .map(|task| task.run)
        .collect();
    assert_eq!(runs.len(), 200);
    let completers = connections(&db, 20).await.into_iter().enumerate();
    let done = join_all(completers.map(async |(turn, mut connection)| {
        let mut mine: Vec<Success> = runs.iter().map(|run| success(*run, "{}")).collect();
        if turn % 2 == 1 {
            mine.reverse();
        }
        loop {
            match complete(&mut connection, "w", &mine).await {
                Ok(done) => return done.len(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::RolledBack, "{error}"),
            }
        }
    }))
    .await;
    assert_eq!(done.into_iter().sum::<usize>(), 200);
    let rows: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM tasks), count(*), count(DISTINCT id) FROM finished_tasks",
    )
    .fetch_one(&db)
    .await
    .expect("counts");
    assert_eq!(rows, (0, 200, 200));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_result_that_cannot_be_stored_is_the_rows_fault_and_its_run_goes_on(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    let error = complete(&db, "w", &[success(run, "{")])
        .await
        .expect_err("no JSON");
    assert_eq!(error.kind(), ErrorKind::Row);
    assert_eq!(record(&db, id).await.status, TaskStatus::Running);
    let error = complete(&db, "w", &[success(run, "\"\0\"")])
        .await
        .expect_err("a NUL");
    assert_eq!(error.kind(), ErrorKind::Row);
    assert_eq!(record(&db, id).await.status, TaskStatus::Running);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_completion_commits_durably_even_where_the_default_is_off(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    let mut connection = connections(&db, 1).await.remove(0);
    sqlx::query("SET synchronous_commit = off")
        .execute(&mut connection)
        .await
        .expect("a setting");
    let during = "CREATE TABLE seen (setting text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
        CREATE TRIGGER see AFTER INSERT ON finished_tasks FOR EACH STATEMENT EXECUTE FUNCTION see()";
    sqlx::raw_sql(during).execute(&db).await.expect("a trigger");
    let done = complete(&mut connection, "w", &[success(run, "1")]).await;
    assert_eq!(done.expect("an answer"), [(id, TaskStatus::Completed)]);
    let seen: String = sqlx::query_scalar("SELECT setting FROM seen")
        .fetch_one(&db)
        .await
        .expect("the trigger ran");
    assert_eq!(seen, "on");
    let after: String = sqlx::query_scalar("SHOW synchronous_commit")
        .fetch_one(&mut connection)
        .await
        .expect("a setting");
    assert_eq!(after, "off", "the session keeps its own");
}
