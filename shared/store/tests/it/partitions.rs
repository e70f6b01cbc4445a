use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_store::ErrorKind;
use tasker_store::partitions::{DAYS_AHEAD, TABLES, days_ahead, ensure};
use tasker_store::retention::past;
use tasker_testkit::a_task;

use super::support::{enter_worker, execute, run_of, submit_one, success, wide_pool};

/// The partitions of both tables.
async fn partitions(db: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_inherits
          WHERE inhparent IN ('finished_tasks'::regclass, 'task_events'::regclass)",
    )
    .fetch_one(db)
    .await
    .expect("a count")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_new_database_has_partitions_for_two_weeks_and_yesterday(db: PgPool) {
    assert_eq!(days_ahead(&db).await.expect("an answer"), i64::from(DAYS_AHEAD));
    assert_eq!(partitions(&db).await, 32);
    assert_eq!(ensure(&db).await.expect("an answer"), 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_is_missing_is_made_once_however_many_make_it(db: PgPool) {
    let drop_some = "DO $$ DECLARE child text; BEGIN
        FOR child IN SELECT parent || '_' || to_char((now() AT TIME ZONE 'UTC')::date + day, 'YYYYMMDD')
                       FROM generate_series(2, 14) AS day, unnest(ARRAY['finished_tasks', 'task_events']) AS parent
        LOOP EXECUTE 'DROP TABLE ' || child; END LOOP; END $$";
    execute(&db, drop_some).await;
    assert_eq!(days_ahead(&db).await.expect("an answer"), 2);
    let wide = wide_pool(&db, 8).await;
    let made = join_all((0..8).map(|_| ensure(&wide))).await;
    let made: i32 = made.into_iter().map(|made| made.expect("an answer")).sum();
    assert_eq!(made, 26);
    assert_eq!(partitions(&wide).await, 32);
    assert_eq!(days_ahead(&wide).await.expect("an answer"), 14);
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_missing_partition_is_an_outage_and_the_task_stays(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    execute(&db, "DROP TABLE finished_tasks CASCADE").await;
    execute(&db, "CREATE TABLE finished_tasks (LIKE tasks, result json, completed_at timestamptz) PARTITION BY RANGE (completed_at)").await;
    let error = tasker_store::complete::complete(&db, "w", &[success(run, "{}")])
        .await
        .expect_err("the partition is missing");
    assert_eq!(error.kind(), ErrorKind::Outage, "{error}");
    let alive: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(alive, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn old_partitions_of_every_table_by_day_are_past_their_retention(db: PgPool) {
    for table in TABLES {
        let made = format!(
            "CREATE TABLE {table}_20200101 PARTITION OF {table}
                FOR VALUES FROM ('2020-01-01 00:00 UTC') TO ('2020-01-02 00:00 UTC')"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(made))
            .execute(&db)
            .await
            .expect("an old partition");
        let old = past(&db, table, 30).await.expect("an answer");
        assert_eq!(old.len(), 1, "{table}");
        assert_eq!(old[0].name, format!("public.{table}_20200101"));
    }
}
