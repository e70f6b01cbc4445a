use std::collections::HashSet;

use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::dead_letters::{Filter, Position, Taken, list, matched, purge_batch, retry_batch};
use tasker_store::history::events;
use tasker_store::idempotency_keys::holders;
use tasker_store::insert::NewTask;
use tasker_store::operator_retry::retry;
use tasker_testkit::{a_key, a_task};

use super::support::{
    KEY_TTL, a_dead_letter, enter_worker, execute, finish, record, rows_of, run_of, submit_one, wide_pool,
};

async fn start(db: &PgPool) -> Position {
    let matched = matched(db, &Filter::default()).await.expect("a count");
    Position {
        above: TaskId::MIN,
        up_to: TaskId::MAX,
        as_of: matched.as_of,
    }
}

async fn retry_all(db: &PgPool, position: Position, limit: i64) -> Vec<Taken> {
    retry_batch(db, &Filter::default(), position, limit, "me", KEY_TTL)
        .await
        .expect("a batch")
}

async fn purge_all(db: &PgPool, position: Position, limit: i64) -> Vec<Taken> {
    purge_batch(db, &Filter::default(), position, limit, "me")
        .await
        .expect("a batch")
}

fn done(taken: &[Taken]) -> Vec<TaskId> {
    taken
        .iter()
        .filter(|taken| taken.done)
        .map(|taken| taken.id)
        .collect()
}

fn keyed(key: &str) -> NewTask {
    NewTask {
        key: a_key(key),
        ..a_task("echo")
    }
}

/// Inserts dead letters of three kinds by SQL, oldest first: they died one, two, three … days ago, the first
/// one longest ago.
async fn some_dead_letters(db: &PgPool) -> Vec<TaskId> {
    enter_worker(db, "w").await;
    let mut ids = Vec::new();
    for (queue, reason, days) in [
        (QueueName::high(), "failed", 3),
        (QueueName::low(), "exhausted", 2),
        (QueueName::low(), "timeout", 1),
    ] {
        let id = a_dead_letter(
            db,
            "w",
            NewTask {
                queue,
                ..a_task("echo")
            },
        )
        .await;
        sqlx::query(
            "UPDATE tasks SET reason = $2, updated_at = now() - make_interval(days => $3) WHERE id = $1",
        )
        .bind(id)
        .bind(reason)
        .bind(days)
        .execute(db)
        .await
        .expect("an update");
        ids.push(id);
    }
    ids
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn every_filter_narrows_the_list_the_count_and_the_batch_alike(db: PgPool) {
    let ids = some_dead_letters(&db).await;
    submit_one(&db, a_task("echo")).await;
    let two_days_ago = record(&db, ids[1]).await.updated_at;
    let all = Filter::default;
    for (filter, expected) in [
        (all(), vec![2, 1, 0]),
        (
            Filter {
                task_name: Some("echo".into()),
                ..all()
            },
            vec![2, 1, 0],
        ),
        (
            Filter {
                task_name: Some("other".into()),
                ..all()
            },
            vec![],
        ),
        (
            Filter {
                queues: Some(vec![QueueName::low()]),
                ..all()
            },
            vec![2, 1],
        ),
        (
            Filter {
                reason: Some(DeadLetterReason::Failed),
                ..all()
            },
            vec![0],
        ),
        (
            Filter {
                before: Some(two_days_ago),
                ..all()
            },
            vec![0],
        ),
        (
            Filter {
                queues: Some(vec![QueueName::low()]),
                reason: Some(DeadLetterReason::Failed),
                ..all()
            },
            vec![],
        ),
    ] {
        let expected: Vec<TaskId> = expected.into_iter().map(|place: usize| ids[place]).collect();
        let page = list(&db, &filter, None, 10).await.expect("a page");
        let listed: Vec<TaskId> = page.tasks.iter().map(|task| task.id).collect();
        assert_eq!((listed, page.next), (expected.clone(), None), "{filter:?}");
        let matched = matched(&db, &filter).await.expect("a count");
        assert_eq!(
            matched.count,
            i64::try_from(expected.len()).expect("few"),
            "{filter:?}"
        );
        // a dry run of the purge
        let mut transaction = db.begin().await.expect("a transaction");
        let position = Position {
            above: TaskId::MIN,
            up_to: TaskId::MAX,
            as_of: matched.as_of,
        };
        let taken = purge_batch(&mut *transaction, &filter, position, 10, "me")
            .await
            .expect("a batch");
        transaction.rollback().await.expect("a rollback");
        let oldest_first: Vec<TaskId> = expected.into_iter().rev().collect();
        assert_eq!(done(&taken), oldest_first, "{filter:?}");
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn pages_follow_each_other_without_gap_or_repetition(db: PgPool) {
    let ids = some_dead_letters(&db).await;
    let first = list(&db, &Filter::default(), None, 2).await.expect("a page");
    assert_eq!(
        first.tasks.iter().map(|task| task.id).collect::<Vec<_>>(),
        [ids[2], ids[1]]
    );
    let second = list(&db, &Filter::default(), first.next, 2)
        .await
        .expect("a page");
    assert_eq!(
        second.tasks.iter().map(|task| task.id).collect::<Vec<_>>(),
        [ids[0]]
    );
    assert_eq!(second.next, None);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_batch_runs_dead_letters_again_from_their_first_attempt(db: PgPool) {
    let ids = some_dead_letters(&db).await;
    execute(&db, "UPDATE tasks SET crash_count = 3, progress = '1'").await;
    let position = start(&db).await;
    let taken = retry_all(&db, position, 2).await;
    assert_eq!(done(&taken), [ids[0], ids[1]]);
    assert_eq!(taken[0].queue, QueueName::high());
    let position = Position {
        above: ids[1],
        ..position
    };
    assert_eq!(done(&retry_all(&db, position, 2).await), [ids[2]]);
    for id in ids {
        let record = record(&db, id).await;
        assert_eq!(record.status, TaskStatus::Pending);
        assert_eq!((record.runs, record.attempts, record.crash_count), (1, 0, 0));
        assert_eq!((record.reason, record.error, record.progress), (None, None, None));
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
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_dies_again_meanwhile_is_not_taken_twice(db: PgPool) {
    enter_worker(&db, "w").await;
    let position = start(&db).await;
    let id = a_dead_letter(&db, "w", a_task("echo")).await;
    assert!(retry_all(&db, position, 10).await.is_empty());
    assert!(purge_all(&db, position, 10).await.is_empty());
    assert_eq!(done(&retry_all(&db, start(&db).await, 10).await), [id]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_row_that_another_session_has_locked_is_skipped(db: PgPool) {
    let ids = some_dead_letters(&db).await;
    retry(&db, ids[0], "me", KEY_TTL).await.expect("an answer");
    let mut other = db.begin().await.expect("a transaction");
    let position = start(&db).await;
    sqlx::query("SELECT FROM tasks WHERE id = $1 FOR NO KEY UPDATE")
        .bind(ids[1])
        .execute(&mut *other)
        .await
        .expect("a lock");
    assert_eq!(done(&purge_all(&db, position, 10).await), [ids[2]]);
    other.rollback().await.expect("a rollback");
    assert_eq!(done(&purge_all(&db, position, 10).await), [ids[1]]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn keys_are_taken_again_unless_another_live_task_holds_them(db: PgPool) {
    enter_worker(&db, "w").await;
    let free = a_dead_letter(&db, "w", keyed("free")).await;
    let over = a_dead_letter(&db, "w", keyed("over")).await;
    let taken = a_dead_letter(&db, "w", keyed("taken")).await;
    let lapsed = a_dead_letter(&db, "w", keyed("lapsed")).await;
    execute(&db, "DELETE FROM task_keys WHERE idempotency_key <> 'free'").await;
    execute(&db, "UPDATE task_keys SET expires_at = now() - interval '1 day'").await;
    let holder = submit_one(&db, keyed("taken")).await;
    let ended = submit_one(&db, keyed("over")).await;
    finish(&db, "w", run_of(&db, "w", ended).await).await;

    let batch = retry_all(&db, start(&db).await, 10).await;
    assert_eq!(batch.len(), 4);
    assert_eq!(done(&batch), [free, over, lapsed]);
    let before = record(&db, taken).await;
    assert_eq!(before.status, TaskStatus::DeadLetter);
    let names = ["free", "over", "taken", "lapsed"].map(|key| ("echo", key));
    let mut held: Vec<_> = holders(&db, &names)
        .await
        .expect("holders")
        .into_iter()
        .map(|holder| (holder.idempotency_key, holder.task_id))
        .collect();
    held.sort();
    let mut expected = [
        ("free", free),
        ("over", over),
        ("taken", holder),
        ("lapsed", lapsed),
    ]
    .map(|(key, id)| (key.to_owned(), id));
    expected.sort();
    assert_eq!(held, expected);
    let fresh: i64 =
        sqlx::query_scalar("SELECT count(*) FROM task_keys WHERE expires_at > now() + interval '23 hours'")
            .fetch_one(&db)
            .await
            .expect("a count");
    assert_eq!(fresh, 4);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn of_dead_letters_with_one_key_its_holder_runs_again_and_no_other(db: PgPool) {
    enter_worker(&db, "w").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        execute(&db, "DELETE FROM task_keys").await;
        ids.push(a_dead_letter(&db, "w", keyed("k")).await);
    }
    let batch = retry_all(&db, start(&db).await, 10).await;
    assert_eq!((batch.len(), done(&batch)), (3, vec![ids[2]]));
    assert!(done(&retry_all(&db, start(&db).await, 10).await).is_empty());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_purge_deletes_the_task_and_its_key_and_leaves_an_event(db: PgPool) {
    enter_worker(&db, "w").await;
    let own = a_dead_letter(&db, "w", keyed("own")).await;
    let lost = a_dead_letter(&db, "w", keyed("lost")).await;
    execute(&db, "DELETE FROM task_keys WHERE idempotency_key = 'lost'").await;
    let holder = submit_one(&db, keyed("lost")).await;
    assert_eq!(done(&purge_all(&db, start(&db).await, 10).await), [own, lost]);
    let keys: Vec<TaskId> = sqlx::query_scalar("SELECT task_id FROM task_keys")
        .fetch_all(&db)
        .await
        .expect("keys");
    assert_eq!(keys, [holder]);
    for id in [own, lost] {
        assert_eq!(rows_of(&db, id).await, 0);
        let events = events(&db, id).await.expect("events");
        let last = events.last().expect("an event");
        assert_eq!(
            (last.from, last.to),
            (Some(TaskStatus::DeadLetter), TaskStatus::DeadLetter)
        );
        assert_eq!(
            (last.reason.as_deref(), last.actor.as_deref()),
            (Some("purged"), Some("me"))
        );
        assert_eq!((last.run, last.error.as_deref()), (Some(1), Some("no route")));
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn each_dead_letter_goes_exactly_one_way_however_many_are_at_it(db: PgPool) {
    enter_worker(&db, "w").await;
    let wide = wide_pool(&db, 9).await;
    for _ in 0..5 {
        let mut ids = HashSet::new();
        for number in 0..40 {
            // some of them share keys
            let key = a_key(&format!("k{}", number / 2)).filter(|_| number % 4 < 2);
            execute(&wide, "DELETE FROM task_keys").await;
            ids.insert(
                a_dead_letter(
                    &wide,
                    "w",
                    NewTask {
                        key,
                        ..a_task("echo")
                    },
                )
                .await,
            );
        }
        let position = start(&wide).await;
        let retries = join_all((0..3).map(|_| retry_all(&wide, position, 30)));
        let purges = join_all((0..3).map(|_| purge_all(&wide, position, 30)));
        let singles = join_all(ids.iter().take(3).map(|id| retry(&wide, *id, "me", KEY_TTL)));
        let (retries, purges, _) = futures_util::join!(retries, purges, singles);
        let retried: Vec<TaskId> = retries.iter().flat_map(|batch| done(batch)).collect();
        let purged: Vec<TaskId> = purges.iter().flat_map(|batch| done(batch)).collect();
        let both: HashSet<TaskId> = retried.iter().chain(&purged).copied().collect();
        assert_eq!(both.len(), retried.len() + purged.len());
        for id in retried {
            assert_eq!(record(&wide, id).await.status, TaskStatus::Pending);
        }
        for id in purged {
            assert_eq!(rows_of(&wide, id).await, 0);
        }
        let twice: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT FROM task_events WHERE actor = 'me' GROUP BY task_id HAVING count(*) > 1) AS t",
        )
        .fetch_one(&wide)
        .await
        .expect("a count");
        assert_eq!(twice, 0);
        let shared: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT FROM tasks WHERE status = 'pending' AND idempotency_key IS NOT NULL
                                    GROUP BY idempotency_key HAVING count(*) > 1) AS t",
        )
        .fetch_one(&wide)
        .await
        .expect("a count");
        assert_eq!(shared, 0, "two live tasks have one key");
        execute(&wide, "DELETE FROM tasks").await;
    }
    wide.close().await;
}

/// Returns the columns that a retry sets, as JSON.
async fn retried_columns(db: &PgPool, id: TaskId) -> serde_json::Value {
    sqlx::query_scalar(
        "SELECT to_json(r) FROM (
            SELECT status, run_at, worker_id, attempts, crash_count, started_at, cancel_requested_at, reason, error, progress,
                   enqueued_at = updated_at AS enqueued_now
              FROM tasks WHERE id = $1) AS r",
    )
    .bind(id)
    .fetch_one(db)
    .await
    .expect("a row")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_retried_in_bulk_shows_the_same_columns_as_one_retried_singly(db: PgPool) {
    enter_worker(&db, "w").await;
    let single = a_dead_letter(&db, "w", a_task("echo")).await;
    let bulk = a_dead_letter(&db, "w", a_task("echo")).await;
    // as after attempts that were scheduled, made progress and lost a worker
    execute(
        &db,
        "UPDATE tasks SET run_at = now() - interval '1 hour', crash_count = 1, progress = '{}'",
    )
    .await;
    retry(&db, single, "me", KEY_TTL).await.expect("retried");
    assert_eq!(done(&retry_all(&db, start(&db).await, 10).await), [bulk]);
    let columns = retried_columns(&db, single).await;
    assert_eq!(columns, retried_columns(&db, bulk).await);
    assert_eq!(
        (&columns["attempts"], &columns["crash_count"]),
        (&0.into(), &0.into())
    );
    for empty in [
        "run_at",
        "worker_id",
        "started_at",
        "cancel_requested_at",
        "reason",
        "error",
        "progress",
    ] {
        assert!(columns[empty].is_null(), "{empty}: {columns}");
    }
}
