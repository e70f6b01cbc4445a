//! The views `orchestrator.tasks` and `orchestrator.workers`, for people and scripts with psql.

use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use tasker_core::task::TaskId;
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::leader::campaign;

use super::support::{a_dead_letter, ended, enter_worker, execute, finish, run_of, submit_many};

const COLUMNS_OF_TASKS: &str = "id type payload status priority idempotency_key worker_id created_at claimed_at \
                                started_at completed_at updated_at attempts max_retries last_error next_retry_at";
const COLUMNS_OF_WORKERS: &str =
    "id hostname started_at last_heartbeat pool_size version is_leader leader_until";

/// The row of a task in the view.
async fn row(db: &PgPool, id: TaskId) -> PgRow {
    sqlx::query("SELECT * FROM orchestrator.tasks WHERE id = $1")
        .bind(id)
        .fetch_one(db)
        .await
        .expect("one row")
}

fn columns(row: &PgRow) -> String {
    let names: Vec<&str> = row.columns().iter().map(sqlx::Column::name).collect();
    names.join(" ")
}

/// Whether a condition on a row of the view holds.
async fn holds(db: &PgPool, id: TaskId, condition: &str) -> bool {
    let query = format!("SELECT COALESCE({condition}, false) FROM orchestrator.tasks WHERE id = $1");
    sqlx::query_scalar(AssertSqlSafe(query))
        .bind(id)
        .fetch_one(db)
        .await
        .expect(condition)
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn live_and_finished_tasks_are_read_under_the_names_of_the_view(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 4).await;
    let dead = a_dead_letter(&db, "w", tasker_testkit::a_task("echo")).await;
    let [pending, running, completed, retried] = ids[..] else {
        panic!("four tasks")
    };
    run_of(&db, "w", running).await;
    let run = run_of(&db, "w", completed).await;
    finish(&db, "w", run).await;
    let run = run_of(&db, "w", retried).await;
    let verdict = Verdict::RetryIn(std::time::Duration::from_mins(1));
    end_runs(&db, "w", &[ended(run, verdict)]).await.expect("ended");

    assert_eq!(columns(&row(&db, pending).await), COLUMNS_OF_TASKS);
    for (id, status) in [
        (pending, "pending"),
        (running, "running"),
        (completed, "completed"),
        (retried, "retry_scheduled"),
        (dead, "dead_letter"),
    ] {
        let shown: String = row(&db, id).await.get("status");
        assert_eq!(shown, status);
        assert!(holds(&db, id, "type = 'echo' AND json_typeof(payload) = 'object'").await);
        assert!(holds(&db, id, "claimed_at IS NOT DISTINCT FROM started_at").await);
    }
    assert!(holds(&db, running, "worker_id = 'w' AND claimed_at IS NOT NULL").await);
    assert!(holds(&db, completed, "completed_at IS NOT NULL AND attempts = 1").await);
    assert!(holds(&db, retried, "next_retry_at > now() AND last_error = 'no route'").await);
    assert!(holds(&db, dead, "next_retry_at IS NULL AND last_error = 'no route'").await);
    let limit = "max_retries = (SELECT max_attempts - 1 FROM task_records r WHERE r.id = tasks.id)";
    assert!(holds(&db, pending, limit).await && holds(&db, completed, limit).await);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn workers_are_read_with_the_server_that_leads(db: PgPool) {
    enter_worker(&db, "w").await;
    let holder = "server-my-host-42-018f0000-0000-7000-8000-000000000000";
    campaign(&db, holder, 60.0)
        .await
        .expect("an answer")
        .expect("a term");
    let read = async || {
        sqlx::query("SELECT * FROM orchestrator.workers ORDER BY is_leader")
            .fetch_all(&db)
            .await
            .expect("rows")
    };
    let rows = read().await;
    assert_eq!((rows.len(), columns(&rows[0]).as_str()), (2, COLUMNS_OF_WORKERS));
    let of = |row: &PgRow| (row.get::<String, _>("id"), row.get::<bool, _>("is_leader"));
    assert_eq!(of(&rows[0]), ("w".to_owned(), false));
    assert_eq!(of(&rows[1]), (holder.to_owned(), true));
    assert_eq!(rows[1].get::<String, _>("hostname"), "my-host");
    execute(&db, "UPDATE leader_lease SET expires_at = now()").await;
    assert_eq!(read().await.len(), 1, "a lease that has expired has no leader");
}

async fn exist(db: &PgPool) -> bool {
    let query = "SELECT to_regclass('orchestrator.tasks') IS NOT NULL
                    AND to_regclass('orchestrator.workers') IS NOT NULL";
    sqlx::query_scalar(query).fetch_one(db).await.expect("an answer")
}

#[sqlx::test(migrations = false)]
async fn a_role_that_may_not_create_schemas_migrates_and_creates_the_views_later(db: PgPool) {
    let migrator = &tasker_testkit::MIGRATOR;
    let new = migrator
        .iter()
        .find(|known| known.description == "orchestrator views")
        .expect("the migration");
    migrator.run_to(new.version - 1, &db).await.expect("migrated");
    let role = format!("tasker_owner_{}", TaskId::generate()).replace('-', "_");
    let tell = async |statement: String| {
        let told = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&db).await;
        told.expect(&statement);
    };
    tell(format!(
        "CREATE ROLE {role}; GRANT USAGE, CREATE ON SCHEMA public TO {role};
         GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    ))
    .await;
    let act_as = format!("SET ROLE {role}");
    let owner = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(move |session, _| {
            let act_as = AssertSqlSafe(act_as.clone());
            Box::pin(async move { sqlx::raw_sql(act_as).execute(session).await.map(drop) })
        })
        .connect_with((*db.connect_options()).clone())
        .await
        .expect("a pool");
    migrator.run_to(new.version, &owner).await.expect("migrated");
    assert!(!exist(&db).await);

    tell(format!("CREATE SCHEMA orchestrator AUTHORIZATION {role}")).await;
    let created: bool = sqlx::query_scalar("SELECT create_orchestrator_views()")
        .fetch_one(&owner)
        .await
        .expect("an answer");
    assert!(created && exist(&db).await);
    owner.close().await;
    tell(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
