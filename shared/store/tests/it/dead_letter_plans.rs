//! With many dead letters in `tasks`, statements about other tasks cost no more: each reads only the rows
//! that it is about, by its partial index.

use std::time::Duration;

use sqlx::PgPool;
use tasker_core::task::{QueueName, Run, TaskId, TaskStatus};
use tasker_store::age::starved;
use tasker_store::cancel::cancel_requested;
use tasker_store::claim::{Poll, claim, claim_oldest};
use tasker_store::complete::complete;
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::explain::facts;
use tasker_store::promote::{next_due_in, promote};
use tasker_store::rebuild::{compare, pending_after};
use tasker_store::recover::{declare_dead, end_overdue, forget_dead, reclaim_lost_claims, recover};
use tasker_store::{Result, dead_letters, gauges, idempotency_keys, queues, records, retention};

use super::plans::{UNTIL_PLANNED, rows_read};
use super::support::{
    KEY_TTL, WORKER_TIMEOUT, claimant, ended, enter_worker, execute, submit_many, success, wide_pool,
};

const DEAD_LETTERS: i64 = 40_000;
/// A few hundred tasks are alive, and statements read some of them several times, as row and as entry of an
/// index.
const FEW: i64 = 2_000;
/// Statements about dead letters or the list of all tasks read at most 10,000 rows, once or twice.
const BOUNDED: i64 = 25_000;

/// Inserts dead letters that were created 100 days ago and died recently, so that none is past its retention
/// and all have to be considered.
async fn many_dead_letters(db: &PgPool) {
    sqlx::query(
        "INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts,
                            max_attempts, correlation_id, timeout_seconds, reason, error, created_at, enqueued_at)
         SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint + n), 12, '0')
                 || '70008' || substr(md5(n::text), 1, 15))::uuid,
                'echo', (ARRAY['default', 'high_priority', 'low_priority'])[1 + n % 3], 0, '{}', '{}', '{}',
                'dead_letter', 1, 1, 1, 'c', 60, 'failed', 'no route to the host', at, at
           FROM generate_series(1, $1) AS n, LATERAL (SELECT now() - interval '100 days' AS at) AS t",
    )
    .bind(DEAD_LETTERS)
    .execute(db)
    .await
    .expect("dead letters");
}

/// A pool of one session, whose plans are tested, on a database full of dead letters.
async fn session_beside_dead_letters(db: &PgPool) -> PgPool {
    many_dead_letters(db).await;
    enter_worker(db, "w").await;
    execute(db, "VACUUM ANALYZE tasks").await;
    submit_many(db, 300).await;
    wide_pool(db, 1).await
}

/// Asserts a maximum number of rows and index entries of `tasks` read by a statement, once the session has
/// settled for a plan.
macro_rules! reads_at_most {
    ($most:expr, $session:expr, $statement:expr) => {{
        for _ in 0..UNTIL_PLANNED {
            $statement.await.expect("an answer");
        }
        let before = rows_read_by($session).await;
        $statement.await.expect("an answer");
        let read = rows_read_by($session).await - before;
        assert!(
            read <= $most,
            "{read} rows were read by {}",
            stringify!($statement)
        );
    }};
}

async fn rows_read_by(session: &PgPool) -> i64 {
    let mut connection = session.acquire().await.expect("the session");
    rows_read(&mut connection).await
}

/// Claims tasks, completes half of them and fails the others with a retry that is due at once.
async fn claim_and_end(db: &PgPool, ids: Option<&[TaskId]>) -> Result<()> {
    let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
    let worker = claimant("w", &queues, &names);
    let claimed = match ids {
        Some(ids) => claim(db, &worker, ids).await?,
        None => {
            claim_oldest(
                db,
                &worker,
                Poll {
                    limit: 10,
                    min_age_seconds: 0.0,
                    after: &[None; 3],
                },
            )
            .await?
        }
    };
    let runs: Vec<Run> = claimed.tasks.iter().map(|task| task.run).collect();
    assert!(!runs.is_empty());
    let (well, again) = runs.split_at(runs.len() / 2);
    let well: Vec<_> = well.iter().map(|run| success(*run, "{}")).collect();
    complete(db, "w", &well).await?;
    let again: Vec<_> = again
        .iter()
        .map(|run| ended(*run, Verdict::RetryIn(Duration::ZERO)))
        .collect();
    end_runs(db, "w", &again).await.map(drop)
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn tasks_run_without_reading_a_dead_letter(db: PgPool) {
    let session = &session_beside_dead_letters(&db).await;
    reads_at_most!(FEW, session, async {
        let ids = submit_many(session, 10).await;
        claim_and_end(session, Some(&ids)).await
    });
    reads_at_most!(FEW, session, claim_and_end(session, None));
    reads_at_most!(FEW, session, promote(session, 1_000));
    reads_at_most!(FEW, session, next_due_in(session));
    reads_at_most!(FEW, session, cancel_requested(session, "w"));
    reads_at_most!(FEW, session, reclaim_lost_claims(session, "w", &[]));
    session.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn duties_read_no_more_dead_letters_than_a_batch(db: PgPool) {
    let session = &session_beside_dead_letters(&db).await;
    let default = QueueName::default_class();
    reads_at_most!(FEW, session, recover(session, 1_000));
    reads_at_most!(FEW, session, end_overdue(session, WORKER_TIMEOUT, 1_000));
    reads_at_most!(FEW, session, declare_dead(session, WORKER_TIMEOUT));
    reads_at_most!(FEW, session, forget_dead(session, WORKER_TIMEOUT));
    reads_at_most!(FEW, session, starved(session, &QueueName::classes(), 0.0, 1_000));
    reads_at_most!(
        FEW,
        session,
        compare(session, std::slice::from_ref(&default), &[200])
    );
    reads_at_most!(FEW, session, pending_after(session, &default, None, None, 5_000));
    reads_at_most!(FEW, session, idempotency_keys::tidy(session, KEY_TTL, 1_000));
    reads_at_most!(BOUNDED, session, gauges::read(session, WORKER_TIMEOUT));
    let as_of = retention::days_ago(session, 90).await.expect("the time");
    reads_at_most!(BOUNDED, session, async {
        let stretch = retention::dead_letters(session, TaskId::MIN, as_of, 10_000).await?;
        let all = dead_letters::Filter::default();
        dead_letters::purge_batch(session, &all, stretch.position, 1_000, "test").await
    });
    session.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn readers_read_a_bounded_number_of_dead_letters(db: PgPool) {
    let session = &session_beside_dead_letters(&db).await;
    let waits = submit_many(session, 1).await[0];
    let other = records::Filter {
        task_name: Some("other".to_owned()),
        ..records::Filter::default()
    };
    let pending = records::Filter {
        status: Some(TaskStatus::Pending),
        ..records::Filter::default()
    };
    let held = records::Filter {
        queues: Some(vec![QueueName::low(), QueueName::high()]),
        ..records::Filter::default()
    };
    let held_dead = dead_letters::Filter {
        queues: held.queues.clone(),
        ..dead_letters::Filter::default()
    };
    let dead = dead_letters::Filter {
        task_name: Some("other".to_owned()),
        ..dead_letters::Filter::default()
    };
    let (all, all_dead) = (records::Filter::default(), dead_letters::Filter::default());
    reads_at_most!(FEW, session, records::get(session, waits));
    reads_at_most!(FEW, session, facts(session, waits, WORKER_TIMEOUT));
    reads_at_most!(
        FEW,
        session,
        queues::states(session, &QueueName::classes(), WORKER_TIMEOUT)
    );
    reads_at_most!(FEW, session, records::list(session, &all, None, 100));
    reads_at_most!(FEW, session, dead_letters::list(session, &all_dead, None, 100));
    reads_at_most!(BOUNDED, session, records::list(session, &other, None, 100));
    reads_at_most!(BOUNDED, session, records::list(session, &pending, None, 100));
    reads_at_most!(BOUNDED, session, records::list(session, &held, None, 100));
    reads_at_most!(BOUNDED, session, dead_letters::list(session, &dead, None, 100));
    reads_at_most!(
        BOUNDED,
        session,
        dead_letters::list(session, &held_dead, None, 100)
    );
    session.close().await;
}
