//! Migrations: who runs them, at which time, and with which timeout.

use std::time::Instant;

use futures_util::future::join_all;
use sqlx::migrate::Migrate as _;
use sqlx::{Connection as _, PgConnection, PgPool};
use tasker_testkit::{PostgresServer, System, eventually, free_port};

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
async fn a_server_that_must_not_migrate_waits_until_another_has(db: PgPool) {
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
    assert!(plan.contains("was changed after it was applied"), "{plan}");
}

#[tokio::test]
async fn migrations_that_are_not_done_in_time_end_with_124() {
    let closed = format!("postgres://tasker:secret@127.0.0.1:{}/tasker", free_port());
    let system = System::on(&closed, &tasker_testkit::redis_url()).with("DB_MIGRATION_TIMEOUT", "2");
    for arguments in [&["migrate", "run"][..], &[]] {
        let mut process = system.run("tasker-server", arguments, &[("LISTEN_ADDRS", "127.0.0.1:0")]);
        assert_eq!(process.wait().await.code(), Some(124), "{arguments:?}");
        let cause = "Postgres cannot be used: error communicating with database: Connection refused";
        assert!(process.log().contains(cause), "{}", process.log());
    }
}

/// Starts a Postgres with a role that may not create in the schema `public`; also returns the URL of the
/// role.
async fn with_unprivileged_role() -> (PostgresServer, PgConnection, String) {
    let postgres = PostgresServer::start().await;
    let mut owner = PgConnection::connect(&postgres.url())
        .await
        .expect("a connection");
    // the second is the default since Postgres 15
    sqlx::raw_sql(
        "CREATE ROLE \"App\" LOGIN PASSWORD 'vR7qz2Lm';
         REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    .execute(&mut owner)
    .await
    .expect("a role");
    let (_, place) = postgres
        .url()
        .split_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a place");
    (postgres, owner, format!("postgres://App:vR7qz2Lm@{place}"))
}

#[tokio::test]
async fn a_role_that_may_not_create_gets_the_needed_grant_at_once_and_blocks_no_other() {
    let (_postgres, mut owner, url) = with_unprivileged_role().await;
    let system = System::on(&url, &tasker_testkit::redis_url());
    let grant = "GRANT CREATE ON SCHEMA public TO \"App\"";
    let began = Instant::now();
    for _ in 0..4 {
        // each has its own pool, and they share the lock
        let attempts = (0..3).map(async |_| {
            let mut process = system.run("tasker-server", &["migrate", "run"], &[]);
            (process.wait().await.code(), process.log())
        });
        for (code, log) in join_all(attempts).await {
            assert_eq!(code, Some(1), "{log}");
            for words in ["permission denied for schema public", grant] {
                assert!(log.contains(words), "{words} is missing in {log}");
            }
        }
    }
    assert!(
        began.elapsed() < SOON,
        "none waited for a lock: {:?}",
        began.elapsed()
    );

    sqlx::raw_sql(grant).execute(&mut owner).await.expect("granted");
    let mut process = system.run("tasker-server", &["migrate", "run"], &[]);
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.log());
    // without pending migrations the role needs no right to create
    sqlx::raw_sql("REVOKE CREATE ON SCHEMA public FROM \"App\"")
        .execute(&mut owner)
        .await
        .expect("revoked");
    let mut process = system.run("tasker-server", &["migrate", "run"], &[]);
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.log());
}

#[sqlx::test(migrations = false)]
async fn migrations_of_another_owner_and_a_read_only_postgres_are_reported_with_the_fix(db: PgPool) {
    let system = System::new(&db);
    sqlx::raw_sql("CREATE TABLE tasks (id int)")
        .execute(&db)
        .await
        .expect("a table in the way");
    let mut process = system.run("tasker-server", &["migrate", "run"], &[]);
    assert_eq!(process.wait().await.code(), Some(1), "{}", process.log());
    assert!(
        process.log().contains("relation \"tasks\" already exists"),
        "{}",
        process.log()
    );
    sqlx::raw_sql("DROP TABLE tasks")
        .execute(&db)
        .await
        .expect("dropped");
    let name: String = sqlx::query_scalar("SELECT quote_ident(current_database())")
        .fetch_one(&db)
        .await
        .expect("a name");
    let set = sqlx::AssertSqlSafe(format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    sqlx::raw_sql(set).execute(&db).await.expect("set");
    let mut process = system.run("tasker-server", &["migrate", "run"], &[]);
    assert_eq!(process.wait().await.code(), Some(1), "{}", process.log());
    for words in [
        "read-only transaction",
        "connect to a Postgres server that accepts writes",
    ] {
        assert!(
            process.log().contains(words),
            "{words} is missing in {}",
            process.log()
        );
    }
}

#[sqlx::test(migrations = false)]
async fn a_wait_for_the_lock_that_times_out_is_reported(db: PgPool) {
    let mut holder = db.acquire().await.expect("a connection").detach();
    holder.lock().await.expect("the lock of the migrations");
    let system = System::new(&db).with("DB_MIGRATION_TIMEOUT", "4");
    let mut process = system.run("tasker-server", &["migrate", "run"], &[]);
    assert_eq!(process.wait().await.code(), Some(124), "{}", process.log());
    let words = "another process held the lock of the migrations";
    assert!(process.log().contains(words), "{}", process.log());
    holder.close().await.expect("closed");
    let mut process = system.run("tasker-server", &["migrate", "run"], &[]);
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.log());
}
