use std::time::Duration;

use sqlx::PgPool;
use tasker_store::workflow_definitions::{Unused, delete_unused};
use tasker_testkit::eventually;

use super::steps::{CHAIN, Graph};
use super::support::{connections, enter_worker, execute};

const SOON: Duration = Duration::from_secs(30);

/// Starts a workflow with a definition of its own.
async fn started(db: &PgPool, definition: u8) -> Graph {
    let mut graph = Graph::of(CHAIN);
    graph.workflow.definition_hash = [definition; 32];
    graph.write(db).await
}

async fn definitions(db: &PgPool) -> Vec<u8> {
    let hashes: Vec<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM workflow_definitions ORDER BY hash")
        .fetch_all(db)
        .await
        .expect("definitions can be read");
    hashes.into_iter().map(|hash| hash[0]).collect()
}

async fn waits_for_a_lock(db: &PgPool) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
    )
    .fetch_one(db)
    .await
    .expect("an answer")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_definition_is_deleted_once_it_is_old_and_no_workflow_refers_to_it(db: PgPool) {
    enter_worker(&db, "w").await;
    let over = started(&db, 1).await;
    for step in ["a", "b", "c"] {
        over.complete(&db, step).await;
    }
    started(&db, 2).await;
    execute(
        &db,
        "INSERT INTO workflow_definitions (hash, definition) SELECT sha256('x'), '{}'",
    )
    .await;
    let none = Unused { deleted: 0, kept: 0 };
    assert_eq!(delete_unused(&db, 30, 100).await.expect("an answer"), none);
    execute(
        &db,
        "UPDATE workflow_definitions SET last_used_at = now() - interval '31 days'",
    )
    .await;
    let found = delete_unused(&db, 30, 100).await.expect("an answer");
    assert_eq!(found, Unused { deleted: 1, kept: 2 });
    assert_eq!(definitions(&db).await, [1, 2]);
    // those that were kept are not searched for again
    assert_eq!(delete_unused(&db, 30, 100).await.expect("an answer"), none);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_start_that_meets_the_deletion_of_its_definition_writes_it_anew(db: PgPool) {
    execute(
        &db,
        "INSERT INTO workflow_definitions VALUES (decode(repeat('07', 32), 'hex'), '{}', now() - interval '9 days')",
    )
    .await;
    let mut connections = connections(&db, 1).await;
    let deleting = &mut connections[0];
    sqlx::raw_sql("BEGIN")
        .execute(&mut *deleting)
        .await
        .expect("it begins");
    let deleted = delete_unused(&mut *deleting, 2, 100).await.expect("an answer");
    assert_eq!(deleted.deleted, 1);
    let start = started(&db, 7);
    let commit = async {
        eventually("the start waits", SOON, async || waits_for_a_lock(&db).await).await;
        sqlx::raw_sql("COMMIT")
            .execute(&mut *deleting)
            .await
            .expect("it commits");
    };
    tokio::join!(start, commit);
    assert_eq!(definitions(&db).await, [7]);
}
