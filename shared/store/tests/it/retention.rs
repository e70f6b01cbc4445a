use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use tasker_core::task::TaskId;
use tasker_store::dead_letters::{Filter, purge_batch};
use tasker_store::insert::NewTask;
use tasker_store::partitions::ensure;
use tasker_store::records::{self, Filter as ListFilter};
use tasker_store::retention::{
    Partition, Stage, days_ago, dead_letters, detach, drop_table, finish_detach, mark, past,
};
use tasker_testkit::{a_key, a_task, eventually};
use tokio_util::sync::CancellationToken;

use super::support::{
    a_dead_letter, connections, enter_worker, finish, rows_of, run_of, submit_many, submit_one,
};

const SOON: Duration = Duration::from_mins(1);
/// The default of `RETENTION_DAYS`.
const DAYS: u32 = 7;

/// Creates the partition of `table` for tasks that ended `days` days ago, and returns its name.
async fn old_partition(db: &PgPool, table: &str, days: u32) -> String {
    let day = today(db).await - TimeDelta::days(days.into());
    let (name, next) = (
        format!("{table}_{}", day.format("%Y%m%d")),
        day + TimeDelta::days(1),
    );
    run(
        db,
        format!("CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{day}') TO ('{next}')"),
    )
    .await;
    name
}

async fn today(db: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT date_trunc('day', now(), 'UTC')")
        .fetch_one(db)
        .await
        .expect("the day")
}

async fn run(db: &PgPool, statement: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()))
        .execute(db)
        .await
        .expect(&statement);
}

/// Inserts a task that ended `days` days ago.
async fn an_old_task(db: &PgPool, days: i64) -> TaskId {
    let then = today(db).await - TimeDelta::days(days);
    let id = TaskId::first_at(then.timestamp_millis());
    submit_one(db, NewTask { id, ..a_task("echo") }).await;
    let run = run_of(db, "w", id).await;
    finish(db, "w", run).await;
    sqlx::query("UPDATE finished_tasks SET completed_at = $2 WHERE id = $1")
        .bind(id)
        .bind(then)
        .execute(db)
        .await
        .expect("the row moves to its partition");
    id
}

/// The partitions past their retention, as names without the schema.
async fn found(db: &PgPool, table: &str) -> Vec<(String, Stage)> {
    bare(past(db, table, DAYS).await.expect("an answer"))
}

fn bare(partitions: Vec<Partition>) -> Vec<(String, Stage)> {
    let named = partitions
        .into_iter()
        .map(|partition| (partition.name.replace("public.", ""), partition.stage));
    named.collect()
}

async fn the_one(db: &PgPool) -> Partition {
    let mut found = past(db, "finished_tasks", DAYS).await.expect("an answer");
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn exists(db: &PgPool, name: &str) -> bool {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(name)
        .fetch_one(db)
        .await
        .expect("an answer")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_partition_is_kept_for_so_many_whole_days_and_then_goes_with_its_rows(db: PgPool) {
    enter_worker(&db, "w").await;
    old_partition(&db, "finished_tasks", DAYS).await;
    let name = old_partition(&db, "finished_tasks", DAYS + 1).await;
    let (kept, gone) = (an_old_task(&db, 7).await, an_old_task(&db, 8).await);
    assert_eq!(
        found(&db, "finished_tasks").await,
        [(name.clone(), Stage::Attached)]
    );
    let partition = the_one(&db).await;
    mark(&db, &partition).await.expect("marked");
    detach(&db, &partition).await.expect("detached");
    assert!(records::get(&db, gone).await.expect("an answer").is_none());
    assert_eq!(
        found(&db, "finished_tasks").await,
        [(name.clone(), Stage::Detached)]
    );
    drop_table(&db, &partition).await.expect("dropped");
    assert!(!exists(&db, &name).await);
    assert!(found(&db, "finished_tasks").await.is_empty());
    assert!(records::get(&db, kept).await.expect("an answer").is_some());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_oldest_partition_comes_first_in_whatever_time_zone_the_session_is(db: PgPool) {
    let mut names = Vec::new();
    for days in [9, 40, 8] {
        names.push((old_partition(&db, "task_events", days).await, Stage::Attached));
    }
    names.sort_by(|one, other| one.0.cmp(&other.0));
    let mut session = connections(&db, 1).await.remove(0);
    for zone in ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"] {
        let settings = format!("SET TIME ZONE '{zone}'; SET DateStyle = 'German, DMY'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(settings))
            .execute(&mut session)
            .await
            .expect("settings");
        let found = past(&mut session, "task_events", DAYS).await.expect("an answer");
        assert_eq!(bare(found), names, "{zone}");
    }
    assert!(found(&db, "finished_tasks").await.is_empty());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_partition_that_an_operator_detached_or_renamed_is_left_alone(db: PgPool) {
    let theirs = old_partition(&db, "finished_tasks", 9).await;
    run(
        &db,
        format!("ALTER TABLE finished_tasks DETACH PARTITION {theirs}"),
    )
    .await;
    let ours = old_partition(&db, "finished_tasks", 8).await;
    let partition = the_one(&db).await;
    mark(&db, &partition).await.expect("marked");
    detach(&db, &partition).await.expect("detached");
    assert_eq!(
        found(&db, "finished_tasks").await,
        [(ours.clone(), Stage::Detached)]
    );
    run(&db, format!("ALTER TABLE {ours} RENAME TO archive_of_a_day")).await;
    assert!(found(&db, "finished_tasks").await.is_empty());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn names_that_need_quotes_are_quoted(db: PgPool) {
    let name = r#""finished "" tasks; DROP TABLE tasks""#;
    let day = "('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')";
    run(
        &db,
        format!("CREATE TABLE {name} PARTITION OF finished_tasks FOR VALUES FROM {day}"),
    )
    .await;
    let partition = the_one(&db).await;
    mark(&db, &partition).await.expect("marked");
    detach(&db, &partition).await.expect("detached");
    drop_table(&db, &partition).await.expect("dropped");
    assert!(exists(&db, "tasks").await);
    assert!(!exists(&db, name).await);
}

/// Submits, runs, reads and lists tasks until `stop`, counting the rounds. Its statements have a lock
/// timeout.
async fn work(db: PgPool, stop: CancellationToken, rounds: Arc<AtomicUsize>) {
    while !stop.is_cancelled() {
        let ids = submit_many(&db, 2).await;
        for id in ids {
            let run = run_of(&db, "w", id).await;
            finish(&db, "w", run).await;
            assert!(records::get(&db, id).await.expect("a read").is_some());
        }
        records::list(&db, &ListFilter::default(), None, 100)
            .await
            .expect("a list");
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

/// A pool whose statements fail when they wait for a lock.
async fn impatient(db: &PgPool) -> PgPool {
    let options = (*db.connect_options())
        .clone()
        .options([("lock_timeout", "200ms")]);
    PgPoolOptions::new()
        .connect_with(options)
        .await
        .expect("Postgres takes more connections")
}

async fn finished_in(snapshot: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM finished_tasks WHERE completed_at < now() - interval '7 days'")
        .fetch_one(snapshot)
        .await
        .expect("a count")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_snapshot_that_stays_open_blocks_the_detach_and_no_other_statement(db: PgPool) {
    enter_worker(&db, "w").await;
    let name = old_partition(&db, "finished_tasks", 8).await;
    let id = an_old_task(&db, 8).await;
    let last_day = (today(&db).await + TimeDelta::days(14)).format("%Y%m%d");
    run(&db, format!("DROP TABLE finished_tasks_{last_day}")).await;
    let partition = the_one(&db).await;
    let mut reader = connections(&db, 1).await;
    let mut open = reader[0]
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .expect("a transaction");
    assert_eq!(finished_in(&mut open).await, 1);

    let patience = impatient(&db).await;
    let (stop, rounds) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let working = tokio::spawn(work(patience.clone(), stop.clone(), Arc::clone(&rounds)));
    mark(&db, &partition).await.expect("marked");
    detach(&db, &partition)
        .await
        .expect_err("it is given up while the reader stays");
    assert_eq!(
        found(&db, "finished_tasks").await,
        [(name.clone(), Stage::Leaving)]
    );
    finish_detach(&db, &partition)
        .await
        .expect_err("the reader is still there");
    assert!(records::get(&patience, id).await.expect("a read").is_none());
    assert_eq!(finished_in(&mut open).await, 1, "the snapshot holds its row");
    assert_eq!(ensure(&patience).await.expect("partitions are made meanwhile"), 1);
    let before = rounds.load(Ordering::SeqCst);
    eventually("work goes on", SOON, async || {
        rounds.load(Ordering::SeqCst) > before + 10
    })
    .await;

    open.rollback().await.expect("the end of the snapshot");
    eventually("the detachment ends", SOON, async || {
        finish_detach(&db, &partition).await.is_ok()
    })
    .await;
    drop_table(&db, &partition).await.expect("dropped");
    stop.cancel();
    working.await.expect("no statement failed");
    patience.close().await;
    assert!(!exists(&db, &name).await);
}

/// Inserts a dead letter whose task was created and died this number of days ago.
async fn an_old_dead_letter(db: &PgPool, created: i64, died: i64) -> TaskId {
    let day = today(db).await;
    let id = TaskId::first_at((day - TimeDelta::days(created)).timestamp_millis());
    let key = a_key(&id.to_string());
    a_dead_letter(
        db,
        "w",
        NewTask {
            id,
            key,
            ..a_task("echo")
        },
    )
    .await;
    sqlx::query("UPDATE tasks SET updated_at = $2 WHERE id = $1")
        .bind(id)
        .bind(day - TimeDelta::days(died))
        .execute(db)
        .await
        .expect("an update");
    id
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn id_ranges_cover_all_dead_letters_that_may_be_old_enough_and_batches_take_those_that_are(db: PgPool) {
    enter_worker(&db, "w").await;
    let mut ids = Vec::new();
    for (created, died) in [(200, 91), (199, 10), (198, 100), (120, 89), (95, 95)] {
        ids.push(an_old_dead_letter(&db, created, died).await);
    }
    // created less than 90 days ago, and so not even read
    an_old_dead_letter(&db, 60, 95).await;
    let all = Filter::default();
    let as_of = days_ago(&db, 90).await.expect("the time");
    let (mut taken, mut above, mut stretches) = (Vec::new(), TaskId::MIN, 0);
    loop {
        let stretch = dead_letters(&db, above, as_of, 2).await.expect("a stretch");
        let batch = purge_batch(&db, &all, stretch.position, 100, "test")
            .await
            .expect("a batch");
        taken.extend(batch.into_iter().map(|taken| taken.id));
        above = stretch.position.up_to;
        stretches += 1;
        if stretch.last {
            break;
        }
    }
    assert_eq!((taken, stretches), (vec![ids[0], ids[2], ids[4]], 3));
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM task_keys")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(keys, 3);
    assert_eq!(rows_of(&db, ids[1]).await, 1);
}
