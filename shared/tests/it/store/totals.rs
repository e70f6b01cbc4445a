use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_shared::store::cancel::cancel;
use tasker_shared::store::dead_letters::{self, Position, matched, purge_batch, retry_batch};
use tasker_shared::store::end_runs::{Verdict, end_runs};
use tasker_shared::store::insert::{Due, NewTask};
use tasker_shared::store::operator_retry::retry;
use tasker_shared::store::recover::{declare_dead, recover};
use tasker_shared::store::totals::{Filter, fold, forget, totals};
use tasker_shared::task::retry::DeadLetterReason;
use tasker_shared::task::{QueueName, Run, TaskId};
use tasker_testkit::{a_key, a_task};

use super::support::{
    KEY_TTL, WORKER_TIMEOUT, a_dead_letter, ended, enter_worker, execute, finish, run_of, submit,
    submit_many, submit_one, wide_pool,
};

fn today() -> Filter {
    Filter {
        days: 1,
        ..Filter::default()
    }
}

/// What matches, as (type, event, tasks).
async fn noted_of(db: &PgPool, filter: &Filter) -> Vec<(String, String, i64)> {
    let totals = totals(db, filter).await.expect("totals");
    let totals = totals
        .into_iter()
        .map(|total| (total.task_name, total.event, total.tasks));
    totals.collect()
}

/// What tasks of the type `echo` did today.
async fn noted(db: &PgPool) -> Vec<(String, i64)> {
    let noted = noted_of(db, &today()).await;
    assert!(noted.iter().all(|(name, ..)| name == "echo"), "{noted:?}");
    noted
        .into_iter()
        .map(|(_, event, tasks)| (event, tasks))
        .collect()
}

fn events<const N: usize>(events: [(&str, i64); N]) -> Vec<(String, i64)> {
    events.map(|(event, tasks)| (event.to_owned(), tasks)).to_vec()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_is_submitted_is_noted_by_type_and_queue_and_a_repeated_key_is_not(db: PgPool) {
    let task = |name: &str, queue: QueueName| NewTask {
        queue,
        ..a_task(name)
    };
    let keyed = || NewTask {
        key: a_key("k"),
        ..a_task("echo")
    };
    let later = NewTask {
        due: Due::InSeconds(60.0),
        ..a_task("echo")
    };
    let high = QueueName::high();
    let plain = [
        task("mail", high.clone()),
        a_task("echo"),
        task("mail", high.clone()),
        task("mail", QueueName::low()),
    ];
    submit(&db, &plain).await;
    submit(&db, &[keyed(), later]).await;
    submit(&db, &[keyed()]).await;
    let noted = async |filter| noted_of(&db, &filter).await;
    let submitted = |name: &str, tasks| (name.to_owned(), "submitted".to_owned(), tasks);
    assert_eq!(noted(today()).await, [submitted("echo", 3), submitted("mail", 3)]);
    let of_high = Filter {
        queues: Some(vec![high]),
        ..today()
    };
    assert_eq!(noted(of_high).await, [submitted("mail", 2)]);
    let of_echo = Filter {
        task_name: Some("echo".to_owned()),
        ..today()
    };
    assert_eq!(noted(of_echo).await, [submitted("echo", 3)]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_late_write_is_not_noted_and_a_cancelled_run_is_no_success(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 2).await;
    let (done, told) = (run_of(&db, "w", ids[0]).await, run_of(&db, "w", ids[1]).await);
    cancel(&db, ids[1], "me").await.expect("told to stop");
    for _ in 0..2 {
        finish(&db, "w", done).await;
        finish(&db, "w", told).await;
        finish(&db, "somebody else", Run { number: 7, ..done }).await;
    }
    let all = events([("cancelled", 1), ("completed", 1), ("submitted", 2)]);
    assert_eq!(noted(&db).await, all);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn attempts_that_fail_are_noted_and_what_is_given_back_is_not(db: PgPool) {
    enter_worker(&db, "w").await;
    let verdicts = [
        Verdict::RetryIn(std::time::Duration::from_secs(5)),
        Verdict::DeadLetter(DeadLetterReason::Failed),
        Verdict::GivenBack,
    ];
    for verdict in verdicts {
        let id = submit_one(&db, a_task("echo")).await;
        let run = run_of(&db, "w", id).await;
        end_runs(&db, "w", &[ended(run, verdict)]).await.expect("ended");
    }
    let all = events([("dead_letter", 1), ("retry_scheduled", 1), ("submitted", 3)]);
    assert_eq!(noted(&db).await, all);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_kills_its_workers_is_noted_when_it_is_given_up(db: PgPool) {
    let id = submit_one(&db, a_task("echo")).await;
    for worker in ["a", "b", "c"] {
        enter_worker(&db, worker).await;
        run_of(&db, worker, id).await;
        execute(
            &db,
            "UPDATE workers SET last_heartbeat = now() - interval '1 hour' WHERE status <> 'dead'",
        )
        .await;
        declare_dead(&db, WORKER_TIMEOUT).await.expect("dead");
        recover(&db, 10).await.expect("recovered");
        execute(&db, "UPDATE workers SET died_at = died_at - interval '1 minute'").await;
    }
    assert_eq!(noted(&db).await, events([("dead_letter", 1), ("submitted", 1)]));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_operators_do_is_noted(db: PgPool) {
    enter_worker(&db, "w").await;
    let one = a_dead_letter(&db, "w", a_task("echo")).await;
    a_dead_letter(&db, "w", a_task("echo")).await;
    retry(&db, one, "me", KEY_TTL).await.expect("retried");
    cancel(&db, one, "me").await.expect("cancelled");
    retry(&db, one, "me", KEY_TTL).await.expect("retried");
    let all = dead_letters::Filter::default();
    let position = async || Position {
        above: TaskId::MIN,
        up_to: TaskId::MAX,
        as_of: matched(&db, &all).await.expect("matched").as_of,
    };
    retry_batch(&db, &all, position().await, 10, "me", KEY_TTL)
        .await
        .expect("retried");
    a_dead_letter(&db, "w", a_task("echo")).await;
    purge_batch(&db, &all, position().await, 10, "me")
        .await
        .expect("purged");
    let expected = events([
        ("cancelled", 1),
        ("cancelled_retried", 1),
        ("dead_letter", 3),
        ("dead_letter_retried", 2),
        ("purged", 1),
        ("submitted", 3),
    ]);
    assert_eq!(noted(&db).await, expected);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn many_that_fold_while_others_note_lose_nothing_and_count_nothing_twice(db: PgPool) {
    let wide = wide_pool(&db, 6).await;
    let note = async || {
        for _ in 0..20 {
            submit_many(&wide, 3).await;
            assert_eq!(noted(&wide).await[0].0, "submitted");
        }
        0
    };
    let folding = async || {
        let mut folded = 0;
        for _ in 0..30 {
            folded += fold(&wide, 2).await.expect("folded");
        }
        folded
    };
    tokio::join!(
        join_all((0..3).map(|_| note())),
        join_all((0..3).map(|_| folding()))
    );
    assert_eq!(noted(&wide).await, events([("submitted", 180)]));
    while fold(&wide, 7).await.expect("folded") > 0 {}
    assert_eq!(noted(&wide).await, events([("submitted", 180)]));
    wide.close().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM task_total_deltas")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(left, 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn days_are_told_apart_and_those_of_long_ago_are_forgotten(db: PgPool) {
    submit_many(&db, 1).await;
    execute(
        &db,
        "INSERT INTO task_totals (day, task_name, queue, event, tasks)
         SELECT (now() AT TIME ZONE 'UTC')::date - ago, 'echo', 'default', 'submitted', 100 + ago
           FROM UNNEST(ARRAY[1, 399, 400, 401]) AS ago",
    )
    .await;
    let of = async |days| {
        let filter = Filter { days, ..today() };
        let totals = totals(&db, &filter).await.expect("totals");
        totals.into_iter().map(|total| total.tasks).collect::<Vec<_>>()
    };
    assert_eq!(of(1).await, [1]);
    assert_eq!(of(2).await, [101, 1]);
    assert_eq!(of(400).await, [499, 101, 1]);
    assert_eq!(forget(&db).await.expect("forgotten"), 2);
    assert_eq!(of(1_000).await, [499, 101, 1]);
}

#[sqlx::test(migrations = false)]
async fn roles_that_end_tasks_without_owning_the_tables_may_note_it_after_the_migration(db: PgPool) {
    let migrator = &tasker_testkit::MIGRATOR;
    let totals = migrator
        .iter()
        .find(|migration| migration.description == "task totals")
        .expect("the migration");
    migrator
        .run_to(totals.version - 1, &db)
        .await
        .expect("the tables of before");
    let role = format!("tasker_worker_{}", TaskId::generate()).replace('-', "_");
    let statement = async |text: String| sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&db).await;
    statement(format!(
        "CREATE ROLE {role}; GRANT INSERT ON finished_tasks TO {role}"
    ))
    .await
    .expect("a role");
    migrator.run(&db).await.expect("migrated");
    let may: (bool, bool) = sqlx::query_as(
        "SELECT has_table_privilege($1, 'task_total_deltas', 'INSERT'), has_table_privilege($1, 'task_total_deltas', 'SELECT')",
    )
    .bind(&role)
    .fetch_one(&db)
    .await
    .expect("privileges");
    statement(format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .expect("no role");
    assert_eq!(may, (true, false));
}
