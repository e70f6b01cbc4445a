use sqlx::PgPool;
use tasker_core::task::TaskStatus;
use tasker_store::idempotency_keys::{Holder, Tidied, holders, tidy, tidy_workflows};
use tasker_store::insert::{NewTask, insert};
use tasker_testkit::{a_key, a_task};

use super::steps::{CHAIN, Graph};
use super::support::{
    KEY_TTL, a_dead_letter, enter_worker, execute, finish, record, run_of, submit, submit_one,
};

async fn holder(db: &PgPool) -> Option<Holder> {
    let mut found = holders(db, &[("echo", "k")]).await.expect("an answer");
    assert!(found.len() < 2);
    found.pop()
}

fn keyed() -> NewTask {
    NewTask {
        key: a_key("k"),
        ..a_task("echo")
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_taken_key_returns_its_task_with_state_queue_and_fingerprint(db: PgPool) {
    let id = submit_one(&db, keyed()).await;
    let found = holder(&db).await.expect("a holder");
    assert_eq!(
        (found.task_name.as_str(), found.idempotency_key.as_str()),
        ("echo", "k")
    );
    assert_eq!((found.task_id, found.status), (id, TaskStatus::Pending));
    assert_eq!(found.queue.as_str(), "default");
    assert_eq!(found.fingerprint, [7; 32]);
    let others = holders(&db, &[("noop", "k"), ("echo", "other")]).await;
    assert!(others.expect("an answer").is_empty());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_expired_key_of_a_finished_task_is_deleted_and_can_be_taken(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, keyed()).await;
    finish(&db, "w", run_of(&db, "w", id).await).await;
    assert_eq!(
        holder(&db).await.expect("not expired yet").status,
        TaskStatus::Completed
    );

    execute(&db, "UPDATE task_keys SET expires_at = now()").await;
    assert!(holder(&db).await.is_none());
    let next = keyed();
    let inserted = submit(&db, std::slice::from_ref(&next)).await;
    assert_eq!(inserted.status(&next), Some(TaskStatus::Pending));
    assert_eq!(holder(&db).await.map(|holder| holder.task_id), Some(next.id));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_expired_key_of_a_live_task_is_never_deleted(db: PgPool) {
    enter_worker(&db, "w").await;
    let first = keyed();
    insert(&db, std::slice::from_ref(&first), -1.0)
        .await
        .expect("stored");
    assert_eq!(
        holder(&db).await.map(|holder| holder.status),
        Some(TaskStatus::Pending)
    );
    run_of(&db, "w", first.id).await;
    assert_eq!(
        holder(&db).await.map(|holder| holder.status),
        Some(TaskStatus::Running)
    );
    let next = keyed();
    assert_eq!(submit(&db, std::slice::from_ref(&next)).await.status(&next), None);
    assert_eq!(record(&db, first.id).await.status, TaskStatus::Running);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_dead_letter_holds_its_key_until_it_expires(db: PgPool) {
    enter_worker(&db, "w").await;
    a_dead_letter(&db, "w", keyed()).await;
    assert_eq!(
        holder(&db).await.map(|holder| holder.status),
        Some(TaskStatus::DeadLetter)
    );
    execute(&db, "UPDATE task_keys SET expires_at = now()").await;
    assert!(holder(&db).await.is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_key_of_a_task_that_was_purged_is_deleted(db: PgPool) {
    submit_one(&db, keyed()).await;
    execute(&db, "DELETE FROM tasks").await;
    assert!(holder(&db).await.is_none());
    let next = keyed();
    assert!(
        submit(&db, std::slice::from_ref(&next))
            .await
            .status(&next)
            .is_some()
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn expired_keys_are_deleted_when_their_tasks_are_terminal_and_extended_while_they_are_not(db: PgPool) {
    enter_worker(&db, "w").await;
    let keyed = |key: &str| NewTask {
        key: a_key(key),
        ..a_task("echo")
    };
    let over = submit_one(&db, keyed("over")).await;
    submit_one(&db, keyed("waiting")).await;
    let run = run_of(&db, "w", over).await;
    finish(&db, "w", run).await;
    execute(&db, "UPDATE task_keys SET expires_at = now() - interval '1 s'").await;
    submit_one(&db, keyed("fresh")).await;
    assert_eq!(
        tidy(&db, KEY_TTL, 100).await.expect("an answer"),
        Tidied {
            deleted: 1,
            prolonged: 1
        }
    );
    assert_eq!(
        tidy(&db, KEY_TTL, 100).await.expect("an answer"),
        Tidied {
            deleted: 0,
            prolonged: 0
        }
    );
    let left: Vec<String> = sqlx::query_scalar("SELECT idempotency_key FROM task_keys ORDER BY 1")
        .fetch_all(&db)
        .await
        .expect("keys can be read");
    assert_eq!(left, ["fresh", "waiting"]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn expired_keys_of_workflows_are_deleted_once_those_are_over_and_extended_while_they_live(db: PgPool) {
    enter_worker(&db, "w").await;
    let over = Graph::start_with_key(CHAIN, "over", &db).await;
    for step in ["a", "b", "c"] {
        over.complete(&db, step).await;
    }
    Graph::start_with_key(CHAIN, "alive", &db).await;
    execute(
        &db,
        "UPDATE workflow_keys SET expires_at = now() - interval '1 s'",
    )
    .await;
    Graph::start_with_key(CHAIN, "fresh", &db).await;
    for (deleted, prolonged) in [(1, 1), (0, 0)] {
        let tidied = tidy_workflows(&db, KEY_TTL, 100).await.expect("an answer");
        assert_eq!(tidied, Tidied { deleted, prolonged });
    }
    let left: Vec<String> = sqlx::query_scalar("SELECT idempotency_key FROM workflow_keys ORDER BY 1")
        .fetch_all(&db)
        .await
        .expect("keys can be read");
    assert_eq!(left, ["alive", "fresh"]);
}
