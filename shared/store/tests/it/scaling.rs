use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_store::insert::NewTask;
use tasker_store::queues::pause;
use tasker_store::scaling::{BACKLOG_MAX, QueueFacts, TypesFacts, facts, facts_of_types, sample};
use tasker_store::workers::{NewWorker, Work, heartbeat, leave, register};
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
    facts(db, &queues, WORKER_TIMEOUT).await.expect("facts")
}

/// The runs that ended in each class, by its last sample.
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
    // no growth
    let again = sampled(&db, [None; 3]).await;
    assert_eq!(ended(&again), [(1, 0.5), (20, 2.0), (0, 0.0)]);
    // another worker registers, which serves two of the queues in its own order, and the first one leaves
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
async fn a_worker_whose_row_is_locked_is_skipped_and_counted_the_next_time(db: PgPool) {
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
async fn the_backlog_is_what_is_pending_whatever_the_length_of_the_list(db: PgPool) {
    submit_many(&db, 3).await;
    let now = sampled(&db, [Some(5), None, Some(0)]).await;
    let backlogs: Vec<i64> = now.iter().map(|queue| queue.samples[0].backlog).collect();
    assert_eq!(backlogs, [0, 3, 0]);
    assert_eq!((now[1].pending, now[1].backlog(Some(9))), (3, 3));
    assert!(now[1].oldest_age_seconds.is_some_and(|age| age >= 0.0));
    assert_eq!((now[0].pending, now[0].oldest_age_seconds), (0, None));
}

/// Registers a live worker of the three classes with three slots that registers only the type `mail`.
async fn enter_mailer(db: &PgPool, id: &str) {
    let mailer = NewWorker {
        pool_size: 3,
        task_names: vec!["mail".to_owned()],
        ..a_worker(id)
    };
    register(db, &mailer).await.expect("entered");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn tasks_that_no_live_worker_can_run_are_no_backlog_unless_there_is_no_worker(db: PgPool) {
    submit_many(&db, 3).await;
    submit_one(&db, a_task("mail")).await;
    let backlog = |now: &[QueueFacts]| {
        let default = &now[1];
        let sample = default.samples.last().expect("a sample");
        (default.pending, default.backlog(None), sample.backlog)
    };
    assert_eq!(backlog(&sampled(&db, [None; 3]).await), (4, 4, 4));
    enter_mailer(&db, "mailer").await;
    assert_eq!(backlog(&sampled(&db, [None; 3]).await), (4, 1, 1));
    enter_worker(&db, "w").await;
    assert_eq!(backlog(&sampled(&db, [None; 3]).await), (4, 3 + 1, 3 + 1));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn tasks_of_some_types_are_counted_with_those_that_no_worker_registers(db: PgPool) {
    submit_many(&db, 3).await;
    submit_one(&db, a_task("mail")).await;
    enter_mailer(&db, "mailer").await;
    enter_mailer(&db, "other").await;
    let of = async |types: &[&str]| {
        let types: Vec<String> = types.iter().map(|name| (*name).to_owned()).collect();
        facts_of_types(&db, &QueueName::default_class(), &types, WORKER_TIMEOUT)
            .await
            .expect("facts")
    };
    let echo = of(&["echo"]).await;
    assert_eq!((echo.pending, echo.workers, echo.slots), (3, 0, 0));
    assert!(echo.oldest_age_seconds.is_some_and(|age| age >= 0.0));
    let both = of(&["mail", "echo"]).await;
    assert_eq!((both.pending, both.workers, both.slots), (4, 2, 6));
    let none = TypesFacts {
        pending: 0,
        oldest_age_seconds: None,
        running: 0,
        workers: 0,
        slots: 0,
    };
    assert_eq!(of(&["report"]).await, none);
    execute(
        &db,
        "UPDATE tasks SET status = 'running', worker_id = 'mailer', runs = 1, started_at = now() WHERE task_name = 'mail'",
    )
    .await;
    let mail = of(&["mail"]).await;
    assert_eq!((mail.pending, mail.running), (0, 1));
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
    assert_eq!(now[1].pending, BACKLOG_MAX);
    assert_eq!(now[1].samples[0].backlog, BACKLOG_MAX);
    let long = sampled(&db, [None, Some(10_005), None]).await;
    assert_eq!(long[1].backlog(Some(10_005)), 10_005);
    assert_eq!(long[1].samples.last().map(|sample| sample.backlog), Some(10_005));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn slots_workers_and_running_tasks_are_reported_for_each_queue(db: PgPool) {
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
