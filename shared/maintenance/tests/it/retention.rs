//! Retention: old partitions and old dead letters are deleted.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, PgPool};
use tasker_core::task::{QueueName, TaskId};
use tasker_maintenance::{DeadLetterExpirer, PartitionDropper};
use tasker_store::claim::{Claimant, claim};
use tasker_store::complete::{Success, complete};
use tasker_store::history::events;
use tasker_store::insert::{NewTask, insert};
use tasker_store::retention::{detach, mark, past};
use tasker_store::workers::register;
use tasker_store::{Result, records};
use tasker_testkit::{Pooler, a_task, a_worker, eventually};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_mins(1);

/// Creates a partition for each of the last `days` days of both tables, as far as they have none.
async fn partitions_of_the_last(db: &PgPool, days: i32) {
    sqlx::query(
        "SELECT ensure_day_partitions(parent, 0)
           FROM (VALUES ('finished_tasks'::regclass), ('task_events'::regclass)) AS t(parent)",
    )
    .execute(db)
    .await
    .expect("partitions");
    let made = format!(
        "DO $$ DECLARE day timestamptz; parent text; BEGIN
           FOR parent, day IN SELECT p, date_trunc('day', now(), 'UTC') - make_interval(hours => 24 * d)
                                FROM unnest(ARRAY['finished_tasks', 'task_events']) p, generate_series(2, {days}) d LOOP
             EXECUTE format('CREATE TABLE %s_%s PARTITION OF %s FOR VALUES FROM (%L) TO (%L)', parent,
                            to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD'), parent, day, day + interval '24 hours');
           END LOOP; END $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(made))
        .execute(db)
        .await
        .expect("partitions");
}

/// Returns the partitions of both tables, and the detached ones.
async fn tables(db: &PgPool) -> i64 {
    let sql =
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^(finished_tasks|task_events)_'";
    sqlx::query_scalar(sql).fetch_one(db).await.expect("a count")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_run_drops_all_that_is_past_its_retention_and_the_next_finds_no_more(db: PgPool) {
    let before = tables(&db).await;
    partitions_of_the_last(&db, 12).await;
    let dropper = PartitionDropper::new(db.clone(), 7);
    assert_eq!(dropper.run_once().await.expect("a run"), 10);
    assert_eq!(tables(&db).await, before + 12);
    assert_eq!(dropper.run_once().await.expect("a run"), 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_partition_that_was_left_detached_is_dropped_by_the_next_run(db: PgPool) {
    partitions_of_the_last(&db, 3).await;
    let old = past(&db, "finished_tasks", 2).await.expect("an answer").remove(0);
    mark(&db, &old).await.expect("marked");
    detach(&db, &old).await.expect("detached");
    let before = tables(&db).await;
    assert_eq!(
        PartitionDropper::new(db.clone(), 2)
            .run_once()
            .await
            .expect("a run"),
        2
    );
    assert_eq!(tables(&db).await, before - 2);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_table_that_cannot_be_dropped_holds_up_no_other(db: PgPool) {
    partitions_of_the_last(&db, 4).await;
    let old = past(&db, "finished_tasks", 2).await.expect("an answer").remove(0);
    let view = format!("CREATE VIEW mine AS SELECT * FROM {}", old.name);
    sqlx::raw_sql(sqlx::AssertSqlSafe(view))
        .execute(&db)
        .await
        .expect("a view");
    let before = tables(&db).await;
    let dropper = PartitionDropper::new(db.clone(), 2);
    for _ in 0..2 {
        dropper.run_once().await.expect_err("a view needs it");
    }
    assert_eq!(tables(&db).await, before - 3);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn two_leaders_at_once_do_each_others_work_and_no_harm(db: PgPool) {
    let before = tables(&db).await;
    partitions_of_the_last(&db, 9).await;
    let (one, other) = (
        PartitionDropper::new(db.clone(), 7),
        PartitionDropper::new(db.clone(), 7),
    );
    // at worst, a step of one is an error for the other
    let _ = tokio::join!(one.run_once(), other.run_once());
    one.run_once().await.expect("a run");
    assert_eq!(tables(&db).await, before + 12);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn behind_a_pooler_a_snapshot_that_stays_open_is_waited_for_no_longer_and_no_setting_is_left(
    db: PgPool,
) {
    partitions_of_the_last(&db, 3).await;
    let before = tables(&db).await;
    let (_pooler, url) = Pooler::before_url(db.connect_options().to_url_lossy().as_str(), 2).await;
    let through = PgPool::connect(&url).await.expect("a connection");
    let dropper = PartitionDropper::new(through.clone(), 2);
    let mut open = db
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .expect("a transaction");
    sqlx::query("SELECT FROM finished_tasks")
        .execute(&mut *open)
        .await
        .expect("a snapshot");
    dropper.run_once().await.expect_err("the reader stays");
    assert_eq!(tables(&db).await, before - 1, "the other table is not held up");
    dropper.run_once().await.expect_err("the reader stays");
    for _ in 0..4 {
        let setting: String = sqlx::query_scalar("SELECT current_setting('lock_timeout')")
            .fetch_one(&through)
            .await
            .expect("an answer");
        assert_eq!(setting, "0");
    }
    open.rollback().await.expect("the end of the snapshot");
    eventually("the partition is dropped", SOON, async || {
        dropper.run_once().await.is_ok()
    })
    .await;
    assert_eq!(tables(&db).await, before - 2);
}

/// Writes `count` dead letters whose tasks were created and died `days` days ago.
async fn dead_letters(db: &PgPool, count: i32, days: i32) -> Vec<TaskId> {
    sqlx::query_scalar(
        "INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts,
                            max_attempts, correlation_id, timeout_seconds, reason, error, created_at, updated_at)
         SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint + n), 12, '0')
                 || '7000' || '8' || substr(md5(n::text), 1, 15))::uuid,
                'echo', 'default', 0, '{}', '{}', '{}', 'dead_letter', 1, 1, 1, 'c', 60, 'failed', 'no route', at, at
           FROM generate_series(1, $1) AS n, LATERAL (SELECT now() - make_interval(days => $2) AS at) AS t
         RETURNING id",
    )
    .bind(count)
    .bind(days)
    .fetch_all(db)
    .await
    .expect("dead letters")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn old_dead_letters_are_deleted_in_batches_and_an_event_of_each_stays(db: PgPool) {
    let old = dead_letters(&db, 2_500, 91).await;
    dead_letters(&db, 500, 89).await;
    let expirer = DeadLetterExpirer::new(db.clone(), 90, Duration::from_mins(1));
    assert_eq!(expirer.run_once().await.expect("a run"), 2_500);
    assert_eq!(expirer.run_once().await.expect("a run"), 0);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(left, 500);
    let event = events(&db, old[0]).await.expect("its history").remove(0);
    assert_eq!(
        (event.reason.as_deref(), event.actor.as_deref()),
        (Some("purged"), Some("retention"))
    );
}

/// Number of rows of the large partition.
const GREAT_DAY: i64 = 10_000_000;

/// Runs tasks until it has run `enough`; returns how many, and how long the slowest statement took.
async fn run_tasks(db: PgPool, enough: impl Fn(usize) -> bool) -> (usize, Duration) {
    let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
    let worker = Claimant {
        worker_id: "w",
        queues: &queues,
        task_names: &names,
        runs_suspect: false,
    };
    let (mut done, mut slowest) = (0, Duration::ZERO);
    while !enough(done) {
        let tasks: Vec<NewTask> = (0..10).map(|_| a_task("echo")).collect();
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        let mut timed = Stopwatch(&mut slowest);
        timed.time(insert(&db, &tasks, 60.0)).await;
        let claimed = timed.time(claim(&db, &worker, &ids)).await;
        let ends = claimed.tasks.iter().map(|task| Success {
            run: task.run,
            result: "{}".to_owned(),
            progress: None,
        });
        timed.time(complete(&db, "w", &ends.collect::<Vec<_>>())).await;
        timed.time(records::get(&db, ids[0])).await;
        timed
            .time(records::list(&db, &records::Filter::default(), None, 10))
            .await;
        done += ids.len();
    }
    (done, slowest)
}

/// Records the longest duration of a statement.
struct Stopwatch<'a>(&'a mut Duration);

impl Stopwatch<'_> {
    async fn time<T>(&mut self, statement: impl Future<Output = Result<T>>) -> T {
        let began = Instant::now();
        let answer = statement.await.expect("an answer");
        *self.0 = began.elapsed().max(*self.0);
        answer
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
#[ignore = "writes 5 GB and takes minutes; shows the figures of docs/operations.md"]
#[expect(clippy::print_stdout, reason = "figures are what it is for")]
async fn a_great_day_is_dropped_while_tasks_run(db: PgPool) {
    partitions_of_the_last(&db, 8).await;
    register(&db, &a_worker("w")).await.expect("entered");
    sqlx::query(
        "INSERT INTO finished_tasks (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts,
                                     max_attempts, crash_count, worker_id, correlation_id, timeout_seconds, created_at,
                                     enqueued_at, started_at, updated_at, result, completed_at)
         SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000'
                 || '8' || lpad(to_hex(n), 15, '0'))::uuid,
                'echo', 'default', 0, json_build_object('text', repeat('.', 100)), '{}', '{}', 'completed', 1, 1,
                4, 0, 'w', 'c', 60, at, at, at, at, '{}', at
           FROM generate_series(1, $1) AS n,
                LATERAL (SELECT date_trunc('day', now(), 'UTC') - interval '8 days' + n * interval '8 ms' AS at) AS t",
    )
    .bind(GREAT_DAY)
    .execute(&db)
    .await
    .expect("a great day");
    let before = run_tasks(db.clone(), |done| done >= 20_000).await;
    let stop = CancellationToken::new();
    let running = [stop.clone(), stop.clone()]
        .map(|stop| tokio::spawn(run_tasks(db.clone(), move |_| stop.is_cancelled())));
    let began = Instant::now();
    let dropped = PartitionDropper::new(db.clone(), 7)
        .run_once()
        .await
        .expect("a run");
    let took = began.elapsed();
    stop.cancel();
    let mut slowest = Duration::ZERO;
    for tasks in running {
        slowest = slowest.max(tasks.await.expect("no panic").1);
    }
    println!(
        "{dropped} partitions dropped in {took:?}; slowest statement {slowest:?}, before {:?}",
        before.1
    );
    assert_eq!(dropped, 2);
    assert!(slowest < Duration::from_secs(1), "a statement took {slowest:?}");
}
