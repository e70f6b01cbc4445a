use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, Run, TaskId};
use tasker_store::cancel::cancel;
use tasker_store::dead_letters::{self, Position, matched, purge_batch, retry_batch};
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::history;
use tasker_store::insert::{Due, NewTask};
use tasker_store::operator_retry::retry;
use tasker_store::recover::{declare_dead, end_overdue, recover};
use tasker_store::totals::{Event, Filter, blocks, fold, forget, shrink, totals};
use tasker_testkit::{a_key, a_task};

use super::support::{
    KEY_TTL, WORKER_TIMEOUT, a_dead_letter, ended, enter_worker, execute, finish, run_of, submit,
    submit_many, submit_one, wide_pool,
};

/// Two days, since a test may run at midnight.
fn now() -> Filter {
    Filter {
        days: 2,
        ..Filter::default()
    }
}

/// The totals that match, as (type, event, tasks).
async fn noted_of(db: &PgPool, filter: &Filter) -> Vec<(String, Event, i64)> {
    let totals = totals(db, filter).await.expect("totals");
    let of_types = totals
        .into_iter()
        .filter_map(|total| Some((total.task_name?, total.event, total.tasks)));
    of_types.collect()
}

/// The totals of tasks of the type `echo`.
async fn noted(db: &PgPool) -> Vec<(Event, i64)> {
    let noted = noted_of(db, &now()).await;
    assert!(noted.iter().all(|(name, ..)| name == "echo"), "{noted:?}");
    let mut noted: Vec<_> = noted
        .into_iter()
        .map(|(_, event, tasks)| (event, tasks))
        .collect();
    noted.sort_unstable();
    noted
}

/// Folds all deltas.
async fn fold_all(db: &PgPool) -> i64 {
    let blocks = blocks(db).await.expect("blocks");
    fold(db, 0, blocks).await.expect("folded")
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
    let submitted = |name: &str, tasks| (name.to_owned(), Event::Submitted, tasks);
    assert_eq!(noted(now()).await, [submitted("echo", 3), submitted("mail", 3)]);
    let of_high = Filter {
        queues: Some(vec![high]),
        ..now()
    };
    assert_eq!(noted(of_high).await, [submitted("mail", 2)]);
    let of_echo = Filter {
        task_name: Some("echo".to_owned()),
        ..now()
    };
    assert_eq!(noted(of_echo).await, [submitted("echo", 3)]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_late_write_is_not_noted_and_a_cancelled_run_is_no_success(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 2).await;
    let (done, told) = (run_of(&db, "w", ids[0]).await, run_of(&db, "w", ids[1]).await);
    cancel(&db, ids[1], "me").await.expect("requested");
    for _ in 0..2 {
        finish(&db, "w", done).await;
        finish(&db, "w", told).await;
        finish(&db, "another worker", Run { number: 7, ..done }).await;
    }
    let all = [
        (Event::Submitted, 2),
        (Event::Completed, 1),
        (Event::Cancelled, 1),
    ];
    assert_eq!(noted(&db).await, all);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn failed_attempts_are_recorded_and_released_runs_are_not(db: PgPool) {
    enter_worker(&db, "w").await;
    let verdicts = [
        Verdict::RetryIn(std::time::Duration::from_secs(5)),
        Verdict::DeadLetter(DeadLetterReason::Failed),
        Verdict::Released,
    ];
    for verdict in verdicts {
        let id = submit_one(&db, a_task("echo")).await;
        let run = run_of(&db, "w", id).await;
        end_runs(&db, "w", &[ended(run, verdict)]).await.expect("ended");
    }
    let all = [
        (Event::Submitted, 3),
        (Event::DeadLetter, 1),
        (Event::RetryScheduled, 1),
    ];
    assert_eq!(noted(&db).await, all);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_poison_task_is_recorded_when_it_is_dead_lettered(db: PgPool) {
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
    assert_eq!(noted(&db).await, [(Event::Submitted, 1), (Event::DeadLetter, 1)]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn runs_that_their_worker_does_not_end_are_recorded_when_maintenance_ends_them(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 2).await;
    run_of(&db, "w", ids[0]).await;
    execute(
        &db,
        "UPDATE tasks SET started_at = now() - interval '2 hours' WHERE status = 'running'",
    )
    .await;
    assert_eq!(
        end_overdue(&db, WORKER_TIMEOUT, 10).await.expect("ended").len(),
        1
    );
    // its cancellation was requested, and its worker was lost
    run_of(&db, "w", ids[1]).await;
    cancel(&db, ids[1], "me").await.expect("requested");
    execute(
        &db,
        "UPDATE workers SET last_heartbeat = now() - interval '1 hour'",
    )
    .await;
    declare_dead(&db, WORKER_TIMEOUT).await.expect("dead");
    assert_eq!(recover(&db, 10).await.expect("recovered").len(), 1);
    let all = [
        (Event::Submitted, 2),
        (Event::Cancelled, 1),
        (Event::RetryScheduled, 1),
    ];
    assert_eq!(noted(&db).await, all);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_run_that_ends_twice_in_one_batch_is_noted_once(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    let failed = ended(run, Verdict::DeadLetter(DeadLetterReason::Failed));
    let gone = end_runs(&db, "w", &[failed.clone(), failed])
        .await
        .expect("ended");
    assert_eq!(gone.len(), 1);
    assert_eq!(noted(&db).await, [(Event::Submitted, 1), (Event::DeadLetter, 1)]);
    assert_eq!(history::events(&db, id).await.expect("events").len(), 1);
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
    let expected = [
        (Event::Submitted, 3),
        (Event::Cancelled, 1),
        (Event::DeadLetter, 3),
        (Event::CancelledRetried, 1),
        (Event::DeadLetterRetried, 2),
        (Event::Purged, 1),
    ];
    assert_eq!(noted(&db).await, expected);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn concurrent_folds_and_writes_lose_no_delta_and_count_none_twice(db: PgPool) {
    const BATCHES: i64 = 20;
    let wide = wide_pool(&db, 6).await;
    // every reader sees its own writes, and never less than before
    let note = async || {
        let mut seen = 0;
        for batch in 1..=BATCHES {
            submit_many(&wide, 3).await;
            let [(Event::Submitted, now)] = noted(&wide).await[..] else {
                panic!("something else was noted");
            };
            assert!(now >= seen && now >= 3 * batch, "{now} after {seen}");
            seen = now;
        }
    };
    let folding = async || {
        let mut folded = 0;
        for _ in 0..30 {
            folded += fold_all(&wide).await;
        }
        folded
    };
    let (_, folded) = tokio::join!(
        join_all((0..3).map(|_| note())),
        join_all((0..3).map(|_| folding()))
    );
    let batches = 3 * BATCHES;
    let left = fold_all(&wide).await;
    assert_eq!(folded.into_iter().sum::<i64>() + left, batches);
    assert_eq!(noted(&wide).await, [(Event::Submitted, 3 * batches)]);
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_large_table_of_deltas_is_folded_by_ranges_and_truncated(db: PgPool) {
    execute(
        &db,
        "INSERT INTO task_total_deltas (task_name, queue, event, tasks)
         SELECT 'echo', 'default', 'completed', 1 FROM generate_series(1, 5000)",
    )
    .await;
    let all = blocks(&db).await.expect("blocks");
    assert!(all > 20, "{all}");
    let first = fold(&db, 0, 10).await.expect("folded");
    assert!(first > 0 && first < 5_000 / 2, "{first}");
    assert_eq!(fold(&db, 0, 10).await.expect("folded"), 0);
    assert_eq!(first + fold(&db, 10, all).await.expect("folded"), 5_000);
    assert_eq!(noted(&db).await, [(Event::Completed, 5_000)]);
    shrink(&db).await.expect("shrunk");
    assert_eq!(blocks(&db).await.expect("blocks"), 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn days_are_distinguished_and_old_ones_are_deleted(db: PgPool) {
    execute(
        &db,
        "INSERT INTO task_totals (day, task_name, queue, event, tasks)
         SELECT (now() AT TIME ZONE 'UTC')::date - ago, 'echo', 'default', 'submitted', 1000 + ago
           FROM UNNEST(ARRAY[0, 1, 10, 20, 399, 401, 402]) AS ago",
    )
    .await;
    let of = async |days| {
        let filter = Filter { days, ..now() };
        let totals = totals(&db, &filter).await.expect("totals");
        let of_days = totals.into_iter().filter(|total| total.day.is_some());
        of_days.map(|total| total.tasks).collect::<Vec<_>>()
    };
    assert_eq!(of(5).await, [1001, 1000]);
    assert_eq!(of(15).await, [1010, 1001, 1000]);
    assert_eq!(of(1_000).await.len(), 7);
    assert_eq!(forget(&db).await.expect("forgotten"), 2);
    assert_eq!(of(1_000).await, [1399, 1020, 1010, 1001, 1000]);
}
