//! The database role that docs/security.md defines for workers has the rights that a worker needs, and no
//! others.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::claim_ready::claim_ready;
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::workers::{Work, heartbeat, leave, register};
use tasker_store::{migrations, task_types, templates};
use tasker_testkit::{a_template, a_worker};

use super::support::{WORKER_TIMEOUT, claim_as, claimant, ended, finish, record, submit_many};

const DOCUMENT: &str = include_str!("../../../../docs/security.md");
/// The role's name in the document.
const DOCUMENTED: &str = "tasker_worker";

/// The name of a role for this test alone, since roles belong to all databases of a server.
struct Role {
    name: String,
    owner: PgPool,
}

impl Role {
    async fn create(owner: &PgPool) -> Self {
        let name = format!("{DOCUMENTED}_{}", TaskId::generate()).replace('-', "_");
        let role = Self {
            name,
            owner: owner.clone(),
        };
        role.tell("CREATE ROLE tasker_worker").await;
        role
    }

    /// Grants it the rights of the document, except for the one that names its database.
    async fn grant_what_is_documented(&self) {
        let grants = DOCUMENT.lines().filter(|line| line.starts_with("GRANT "));
        for grant in grants.filter(|line| line.contains(DOCUMENTED) && !line.contains(" ON DATABASE ")) {
            self.tell(grant).await;
        }
    }

    /// Runs a statement of the owner, in which the role has its documented name.
    async fn tell(&self, statement: &str) {
        let statement = statement.replace(DOCUMENTED, &self.name);
        let told = sqlx::raw_sql(AssertSqlSafe(statement.clone()))
            .execute(&self.owner)
            .await;
        told.expect(&statement);
    }

    /// A pool of sessions that act as this role.
    async fn pool(&self) -> PgPool {
        let act_as = format!("SET ROLE {}", self.name);
        PgPoolOptions::new()
            .max_connections(2)
            .after_connect(move |session, _| {
                let act_as = AssertSqlSafe(act_as.clone());
                Box::pin(async move { sqlx::raw_sql(act_as).execute(session).await.map(drop) })
            })
            .connect_with((*self.owner.connect_options()).clone())
            .await
            .expect("a pool")
    }

    async fn drop(self) {
        self.tell("DROP OWNED BY tasker_worker; DROP ROLE tasker_worker")
            .await;
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_documented_grants_let_a_worker_do_its_work_and_not_read_api_keys(db: PgPool) {
    let role = Role::create(&db).await;
    role.grant_what_is_documented().await;
    let worker = role.pool().await;
    migrations::current_version(&worker).await.expect("the version");
    task_types::publish(&worker, &[]).await.expect("types");
    templates::publish(&worker, &[a_template("1.0.0")])
        .await
        .expect("templates");
    register(&worker, &a_worker("w")).await.expect("entered");
    let ids = submit_many(&db, 3).await;
    let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
    let claimed = claim_ready(&worker, &claimant("w", &queues, &names), &ids[..1])
        .await
        .expect("claimed");
    finish(&worker, "w", claimed.tasks[0].run).await;
    for (id, verdict) in [
        (ids[1], Verdict::DeadLetter(DeadLetterReason::Failed)),
        (ids[2], Verdict::Released),
    ] {
        let run = claim_as(&worker, "w", &[id]).await.tasks[0].run;
        end_runs(&worker, "w", &[ended(run, verdict)])
            .await
            .expect("ended");
    }
    let idle = Work {
        active: 0,
        ended: &[3, 0, 0],
        busy_seconds: &[0.1, 0.0, 0.0],
    };
    heartbeat(&worker, "w", idle, WORKER_TIMEOUT)
        .await
        .expect("a beat");
    leave(&worker, "w").await.expect("it leaves");
    assert_eq!(record(&db, ids[0]).await.status.as_str(), "completed");
    for forbidden in [
        "SELECT FROM api_keys",
        "DELETE FROM task_events",
        "DELETE FROM task_totals",
        "DELETE FROM finished_tasks",
    ] {
        let refused = sqlx::query(forbidden)
            .execute(&worker)
            .await
            .expect_err(forbidden);
        let code = refused.as_database_error().and_then(DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
    worker.close().await;
    role.drop().await;
}

/// The rights that a role created before a migration has on a table, out of SELECT, INSERT, UPDATE and
/// DELETE.
async fn rights_after(db: &PgPool, migration: &str, had: &str, table: &str) -> Vec<String> {
    let migrator = &tasker_testkit::MIGRATOR;
    let new = migrator
        .iter()
        .find(|known| known.description == migration)
        .expect("the migration");
    migrator
        .run_to(new.version - 1, db)
        .await
        .expect("the tables of before");
    let role = Role::create(db).await;
    role.tell(had).await;
    migrator.run(db).await.expect("migrated");
    let rights = sqlx::query_scalar(
        "SELECT r FROM UNNEST('{SELECT,INSERT,UPDATE,DELETE}'::text[]) r WHERE has_table_privilege($1, $2, r)",
    )
    .bind(&role.name)
    .bind(table)
    .fetch_all(db)
    .await
    .expect("rights");
    role.drop().await;
    rights
}

#[sqlx::test(migrations = false)]
async fn a_role_that_ended_tasks_before_totals_were_kept_may_note_them_afterwards(db: PgPool) {
    let had = "GRANT SELECT, INSERT ON finished_tasks TO tasker_worker";
    let rights = rights_after(&db, "task totals", had, "task_total_deltas").await;
    assert_eq!(rights, ["INSERT"]);
}

#[sqlx::test(migrations = false)]
async fn a_role_that_published_types_before_there_were_templates_may_publish_them_afterwards(db: PgPool) {
    let had = "GRANT SELECT, INSERT, UPDATE ON task_types TO tasker_worker";
    let rights = rights_after(&db, "workflow templates", had, "workflow_templates").await;
    assert_eq!(rights, ["SELECT", "INSERT", "UPDATE"]);
}
