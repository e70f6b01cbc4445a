use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_store::migrations::{MigrationState, current_version, run, status, wanted_version};

use super::support::wide_pool;

#[sqlx::test(migrations = false)]
async fn an_empty_database_has_no_version_and_misses_every_migration(db: PgPool) {
    assert_eq!(current_version(&db).await.expect("an answer"), 0);
    let status = status(&db).await.expect("an answer");
    assert!(
        !status.is_empty()
            && status
                .iter()
                .all(|migration| migration.state == MigrationState::Pending)
    );
    assert!(status.is_sorted_by_key(|migration| migration.version));
    assert!(status.iter().all(|migration| !migration.description.is_empty()));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_full_database_has_the_wanted_version_and_misses_none(db: PgPool) {
    assert_eq!(current_version(&db).await.expect("an answer"), wanted_version());
    let status = status(&db).await.expect("an answer");
    assert!(
        status
            .iter()
            .all(|migration| migration.state == MigrationState::Applied)
    );
    assert_eq!(
        status.last().map(|migration| migration.version),
        Some(wanted_version())
    );
}

#[sqlx::test(migrations = false)]
async fn twenty_who_migrate_an_empty_database_at_once_all_succeed(db: PgPool) {
    let wide = wide_pool(&db, 20).await;
    for outcome in join_all((0..20).map(|_| run(&wide, |_| ()))).await {
        outcome.expect("migrated");
    }
    assert_eq!(current_version(&wide).await.expect("an answer"), wanted_version());
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_database_that_is_newer_than_this_build_is_left_as_it_is(db: PgPool) {
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99991231235959, 'of a later release', true, '', 0)";
    sqlx::query(newer)
        .execute(&db)
        .await
        .expect("a later release has migrated");
    run(&db, |_| ())
        .await
        .expect("an old server starts beside a new one");
    assert_eq!(current_version(&db).await.expect("answered"), 99_991_231_235_959);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn newer_changed_and_unfinished_migrations_are_distinguished(db: PgPool) {
    let versions: Vec<i64> = status(&db)
        .await
        .expect("an answer")
        .iter()
        .map(|migration| migration.version)
        .collect();
    let [first, second, ..] = versions[..] else {
        panic!("two migrations")
    };
    let records = [
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99991231235959, 'of a later release', true, '', $1 * 0)",
        "UPDATE _sqlx_migrations SET checksum = '' WHERE version = $1",
        "UPDATE _sqlx_migrations SET success = false WHERE version = $1",
    ];
    for (record, version) in records.into_iter().zip([0, first, second]) {
        sqlx::query(record)
            .bind(version)
            .execute(&db)
            .await
            .expect("recorded");
    }
    let status = status(&db).await.expect("an answer");
    let states: Vec<MigrationState> = status.iter().map(|migration| migration.state).collect();
    assert_eq!(states[..2], [MigrationState::Changed, MigrationState::Unfinished]);
    assert_eq!(states.last(), Some(&MigrationState::Newer));
    assert_eq!(states.iter().filter(|state| state.blocks_migrations()).count(), 2);
    assert!(run(&db, |_| ()).await.is_err());
}
