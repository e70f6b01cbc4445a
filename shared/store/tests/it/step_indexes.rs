//! The index of finished steps on partitions that existed before it.

use sqlx::PgPool;
use tasker_store::partitions::ensure;
use tasker_store::step_indexes::build;

use super::support::{connections, execute};

/// The partitions that a new database has.
const PARTITIONS: usize = 16;

/// Returns whether every partition has the index, which makes that of the parent table valid.
async fn is_complete(db: &PgPool) -> bool {
    sqlx::query_scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'finished_steps'::regclass")
        .fetch_one(db)
        .await
        .expect("the index exists")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn partitions_from_before_get_the_index_once(db: PgPool) {
    assert!(!is_complete(&db).await);
    assert_eq!(build(&db).await.expect("an answer"), PARTITIONS);
    assert!(is_complete(&db).await);
    assert_eq!(build(&db).await.expect("an answer"), 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_new_partition_has_the_index_before_and_after_the_others_got_it(db: PgPool) {
    let drop_one = "DO $$ BEGIN EXECUTE 'DROP TABLE finished_tasks_' ||
                     to_char((now() AT TIME ZONE 'UTC')::date + 9, 'YYYYMMDD'); END $$";
    execute(&db, drop_one).await;
    assert_eq!(ensure(&db).await.expect("an answer"), 1);
    assert_eq!(build(&db).await.expect("an answer"), PARTITIONS - 1);
    execute(&db, drop_one).await;
    assert_eq!(ensure(&db).await.expect("an answer"), 1);
    assert_eq!(build(&db).await.expect("an answer"), 0);
    assert!(is_complete(&db).await);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_a_crashed_build_left_is_replaced_or_attached(db: PgPool) {
    // one build was completed and not attached, one was not completed
    let broken = "DO $$ DECLARE day text; BEGIN
        FOR shift IN 1 .. 2 LOOP
            day := to_char((now() AT TIME ZONE 'UTC')::date + shift, 'YYYYMMDD');
            EXECUTE format('CREATE INDEX finished_tasks_%s_steps ON finished_tasks_%s (workflow_id, step, item)
                             WHERE workflow_id IS NOT NULL', day, day);
        END LOOP;
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = format('finished_tasks_%s_steps', day)::regclass;
    END $$";
    execute(&db, broken).await;
    assert_eq!(build(&db).await.expect("an answer"), PARTITIONS);
    assert!(is_complete(&db).await);
    let indexes: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_indexes WHERE indexname ~ '_steps$' AND NOT tablename = 'tasks'",
    )
    .fetch_one(&db)
    .await
    .expect("a count");
    assert_eq!(indexes, 17);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn two_servers_do_not_build_at_once(db: PgPool) {
    let mut connections = connections(&db, 1).await;
    let other = &mut connections[0];
    let lock = "SELECT pg_advisory_lock(hashtextextended('index of finished steps', 0))";
    sqlx::raw_sql(lock)
        .execute(&mut *other)
        .await
        .expect("it is locked");
    assert_eq!(build(&db).await.expect("an answer"), 0);
    connections.clear();
    let (first, second) = tokio::join!(build(&db), build(&db));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    build(&db).await.expect("an answer");
    assert!(is_complete(&db).await);
}
