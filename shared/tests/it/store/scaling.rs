use sqlx::PgPool;
use tasker_shared::store::insert::NewTask;
use tasker_shared::store::queues::pause;
use tasker_shared::store::scaling::{BACKLOG_MAX, QueueFacts, facts, sample};
use tasker_shared::store::workers::{NewWorker, Work, heartbeat, leave, register};
use tasker_shared::task::QueueName;
use tasker_testkit::{a_task, a_worker};

use super::support::{WORKER_TIMEOUT, enter_worker, execute, run_of, submit_many, submit_one};

async fn beat(db: &PgPool, worker_id: &str, ended: &[i64], busy_seconds: &[f64]) {
    let work = Work {
        active: 0,
        ended,
        busy_seconds,
    };
    let answer = heartbeat(db, worker_id, work, WORKER_TIMEOUT)
        .await
        .expect("an answer");
    assert!(answer.alive, "{worker_id}");
}

async fn sampled(db: &PgPool, depths: [Option<i64>; 3]) -> Vec<QueueFacts> {
    let queues = QueueName::classes();
    sample(db, &queues, &depths, WORKER_TIMEOUT)
        .await
        .expect("a sample");
    facts(db, &queues, true, WORKER_TIMEOUT).await.expect("facts")
}

/// What ended in each class, by its last sample.
fn ended(facts: &[QueueFacts]) -> Vec<(i64, f64)> {
    let last = facts.iter().map(|queue| queue.samples.last().expect("a sample"));
    last.map(|sample| (sample.ended, sample.busy_seconds)).collect()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_workers_ended_adds_up_and_nothing_is_lost_or_counted_twice_when_they_come_and_go(db: PgPool) {
    enter_worker(&db, "a").await;
    assert_eq!(ended(&sampled(&db, [None; 3]).await), [(0, 0.0); 3]);
    beat(&db, "a", &[1, 20, 0], &[0.5, 2.0, 0.0]).await;
    assert_eq!(
        ended(&sampled(&db, [None; 3]).await),
        [(1, 0.5), (20, 2.0), (0, 0.0)]
    );
    // nothing new
    let again = sampled(&db, [None; 3]).await;
    assert_eq!(ended(&again), [(1, 0.5), (20, 2.0), (0, 0.0)]);
    // another comes, which serves two of the queues in its own order, and the first goes
    let other = NewWorker {
        queues: vec![QueueName::low(), QueueName::high()],
        ..a_worker("b")
    };
    register(&db, &other).await.expect("entered");
    beat(&db, "a", &[1, 30, 0], &[0.5, 3.0, 0.0]).await;
    beat(&db, "b", &[4, 2], &[4.0, 0.25]).await;
    let both = sampled(&db, [None; 3]).await;
    assert_eq!(ended(&both), [(3, 0.75), (30, 3.0), (4, 4.0)]);
    leave(&db, "a").await.expect("it leaves");
    let after = sampled(&db, [None; 3]).await;
    assert_eq!(ended(&after), ended(&both));
    assert_eq!(after[0].samples.len(), 5);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_whose_row_is_in_use_holds_nobody_up_and_is_counted_the_next_time(db: PgPool) {
    enter_worker(&db, "w").await;
    beat(&db, "w", &[0, 7, 0], &[0.0, 1.0, 0.0]).await;
    let mut open = db.begin().await.expect("a transaction");
    sqlx::query("UPDATE workers SET active = 1")
        .execute(&mut *open)
        .await
        .expect("a lock");
    assert_eq!(ended(&sampled(&db, [None; 3]).await)[1], (0, 0.0));
    open.rollback().await.expect("its end");
    assert_eq!(ended(&sampled(&db, [None; 3]).await)[1], (7, 1.0));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_backlog_is_the_length_of_the_list_or_else_what_is_pending(db: PgPool) {
    submit_many(&db, 3).await;
    let now = sampled(&db, [Some(5), None, Some(0)]).await;
    let backlogs: Vec<i64> = now.iter().map(|queue| queue.samples[0].backlog).collect();
    assert_eq!(backlogs, [5, 3, 0]);
    assert_eq!(now[1].pending, Some(3));
    assert!(now[1].oldest_age_seconds.is_some_and(|age| age >= 0.0));
    assert_eq!((now[0].pending, now[0].oldest_age_seconds), (Some(0), None));
    let uncounted = facts(&db, &QueueName::classes(), false, WORKER_TIMEOUT).await;
    assert_eq!(uncounted.expect("facts")[1].pending, None);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_backlog_is_counted_no_further_than_is_worth_it(db: PgPool) {
    execute(
        &db,
        "INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, max_attempts,
                            timeout_seconds, correlation_id, enqueued_at)
         SELECT gen_random_uuid(), 'echo', 'default', 0, '{}', '{}', '{}', 'pending', 1, 60, 'c', now()
           FROM generate_series(1, 10005)",
    )
    .await;
    let now = sampled(&db, [None; 3]).await;
    assert_eq!(now[1].pending, Some(BACKLOG_MAX));
    assert_eq!(now[1].samples[0].backlog, BACKLOG_MAX);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn slots_workers_and_what_runs_are_told_for_each_queue(db: PgPool) {
    enter_worker(&db, "all").await;
    let low_only = NewWorker {
        queues: vec![QueueName::low()],
        pool_size: 3,
        ..a_worker("low")
    };
    register(&db, &low_only).await.expect("entered");
    let low = submit_one(
        &db,
        NewTask {
            queue: QueueName::low(),
            ..a_task("echo")
        },
    )
    .await;
    run_of(&db, "low", low).await;
    for id in submit_many(&db, 2).await {
        run_of(&db, "all", id).await;
    }
    pause(&db, &QueueName::high()).await.expect("paused");
    let now = sampled(&db, [None; 3]).await;
    let fleet: Vec<_> = now
        .iter()
        .map(|queue| (queue.workers, queue.slots, queue.running, queue.paused))
        .collect();
    assert_eq!(fleet, [(1, 10, 0, true), (1, 10, 2, false), (2, 13, 1, false)]);
    // the two of `default` go before those of `low_priority` in the worker that serves both
    let samples: Vec<_> = now
        .iter()
        .map(|queue| (queue.samples[0].running_before, queue.samples[0].slots))
        .collect();
    assert_eq!(samples, [(0, 10), (0, 10), (2, 13)]);
    assert!(now[1].running_seconds.is_some_and(|seconds| seconds >= 0.0));
    execute(&db, "UPDATE workers SET last_heartbeat = '2001-01-01'").await;
    let silent = sampled(&db, [None; 3]).await;
    assert_eq!((silent[1].workers, silent[1].slots), (0, 0));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn samples_are_kept_for_minutes_and_their_totals_go_on(db: PgPool) {
    enter_worker(&db, "w").await;
    beat(&db, "w", &[0, 9, 0], &[0.0, 1.0, 0.0]).await;
    sampled(&db, [None; 3]).await;
    execute(&db, "UPDATE queue_samples SET at = at - interval '10 min'").await;
    let now = sampled(&db, [None; 3]).await;
    assert_eq!(now[1].samples.len(), 1);
    assert_eq!(now[1].samples[0].ended, 9);
    assert!(now[1].samples[0].age_seconds < 60.0);
}
