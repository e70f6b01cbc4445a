//! Who migrates, when, and for how long it is tried.

use sqlx::PgPool;
use tasker_testkit::{System, eventually, free_port};

use crate::harness::{SOON, count};

async fn has_schema(db: &PgPool) -> bool {
    count(
        db,
        "SELECT count(*) FROM pg_class WHERE oid = to_regclass('tasks')",
    )
    .await
        == 1
}

#[sqlx::test(migrations = false)]
async fn migrate_only_migrates_and_ends_and_no_server_listens(db: PgPool) {
    let system = System::new(&db);
    let mut server = system.spawn(
        "tasker-server",
        "LISTEN_ADDRS",
        &[("DEPLOYMENT_MODE", "migrate-only")],
    );
    assert!(!server.ready().await, "it never serves");
    assert_eq!(server.process.wait().await.code(), Some(0));
    assert!(has_schema(&db).await);
    assert!(
        !server.process.log().contains("listening"),
        "{}",
        server.process.log()
    );
}

#[sqlx::test(migrations = false)]
async fn a_server_that_must_not_migrate_waits_until_somebody_else_has(db: PgPool) {
    for forbidden in [("DEPLOYMENT_MODE", "no-migrate"), ("RUN_MIGRATIONS", "false")] {
        let system = System::new(&db);
        let mut server = system.spawn("tasker-server", "LISTEN_ADDRS", &[forbidden]);
        eventually("the server says what it waits for", SOON, async || {
            server.process.log().contains("waiting for the schema")
        })
        .await;
        assert!(!has_schema(&db).await, "{forbidden:?}");
        assert_eq!(
            system
                .run("tasker-server", &["migrate", "run"], &[])
                .wait()
                .await
                .code(),
            Some(0)
        );
        assert!(server.ready().await);
        assert_eq!(server.process.terminate().await.code(), Some(0));
        sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            .execute(&db)
            .await
            .expect("an empty database");
    }
}

#[sqlx::test(migrations = false)]
async fn the_status_of_the_migrations_can_be_asked_for_and_they_can_be_run_by_hand(db: PgPool) {
    let system = System::new(&db);
    let status = async || {
        let mut process = system.run("tasker-server", &["migrate", "status"], &[]);
        assert_eq!(process.wait().await.code(), Some(0));
        process.log()
    };
    let before = status().await;
    assert!(
        before.contains("pending") && !before.contains("applied"),
        "{before}"
    );
    assert!(!has_schema(&db).await, "asking changes nothing");
    for _ in 0..2 {
        assert_eq!(
            system
                .run("tasker-server", &["migrate", "run"], &[])
                .wait()
                .await
                .code(),
            Some(0)
        );
    }
    let after = status().await;
    assert!(after.contains("applied") && !after.contains("pending"), "{after}");
}

#[sqlx::test(migrations = false)]
async fn a_dry_run_shows_the_sql_to_come_and_changes_nothing(db: PgPool) {
    let system = System::new(&db);
    let dry_run = async || {
        let mut process = system.run("tasker-server", &["migrate", "dry-run"], &[]);
        (process.wait().await.code(), process.log())
    };
    let relations = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'";
    let (code, plan) = dry_run().await;
    assert_eq!(code, Some(0), "{plan}");
    assert!(
        plan.contains("CREATE TABLE tasks") && !plan.contains("-- 0 to apply"),
        "{plan}"
    );
    assert_eq!(count(&db, relations).await, 0, "nothing was made");
    let mut run = system.run("tasker-server", &["migrate", "run"], &[]);
    assert_eq!(run.wait().await.code(), Some(0));
    assert_eq!(dry_run().await, (Some(0), "-- 0 to apply\n".to_owned()));
    sqlx::query("UPDATE _sqlx_migrations SET checksum = '' WHERE version = (SELECT min(version) FROM _sqlx_migrations)")
        .execute(&db)
        .await
        .expect("changed");
    let (code, plan) = dry_run().await;
    assert_eq!(code, Some(1), "{plan}");
    assert!(plan.contains("was applied with another text"), "{plan}");
}

#[tokio::test]
async fn migrations_that_are_not_done_in_time_end_with_124() {
    let nobody = format!("postgres://tasker:secret@127.0.0.1:{}/tasker", free_port());
    let system = System::on(&nobody, &tasker_testkit::redis_url()).with("DB_MIGRATION_TIMEOUT", "1");
    for arguments in [&["migrate", "run"][..], &[]] {
        let mut process = system.run("tasker-server", arguments, &[("LISTEN_ADDRS", "127.0.0.1:0")]);
        assert_eq!(process.wait().await.code(), Some(124), "{arguments:?}");
    }
}
