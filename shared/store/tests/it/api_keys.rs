use sqlx::PgPool;
use tasker_core::role::Role;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::api_keys::{Created, KEYS_MAX, NewApiKey, create, find, list, note_use, revoke};

use super::support::execute;

fn a_key(name: &str, byte: u8) -> NewApiKey {
    NewApiKey {
        id: TaskId::generate().0,
        name: name.to_owned(),
        sha256: [byte; 32],
        role: Role::Submitter,
        queues: Some(vec![QueueName::high()]),
        holds_seconds: Some(60.0),
        created_by: "ops".to_owned(),
    }
}

async fn stored(db: &PgPool, key: &NewApiKey) {
    let created = create(db, key).await.expect("an answer");
    assert!(matches!(created, Created::Stored(_)), "{created:?}");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_key_is_found_by_its_hash_while_it_holds(db: PgPool) {
    let key = a_key("a", 1);
    stored(&db, &key).await;
    let grant = find(&db, &[1; 32]).await.expect("an answer").expect("it holds");
    assert_eq!(
        (grant.id, grant.role, grant.queues),
        (key.id, Role::Submitter, key.queues)
    );
    assert_eq!(find(&db, &[2; 32]).await.expect("an answer"), None);
    execute(&db, "UPDATE api_keys SET expires_at = now()").await;
    assert_eq!(
        find(&db, &[1; 32]).await.expect("an answer"),
        None,
        "it has expired"
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_revoked_key_stays_revoked_by_the_first_who_did_and_frees_its_name(db: PgPool) {
    let key = a_key("a", 1);
    stored(&db, &key).await;
    assert_eq!(
        create(&db, &a_key("a", 2)).await.expect("an answer"),
        Created::NameTaken
    );
    let revoked = revoke(&db, key.id, "ops")
        .await
        .expect("an answer")
        .expect("a key");
    let again = revoke(&db, key.id, "other").await.expect("an answer");
    assert_eq!(again.as_ref(), Some(&revoked));
    assert_eq!(revoked.revoked_by.as_deref(), Some("ops"));
    assert_eq!(find(&db, &[1; 32]).await.expect("an answer"), None);
    assert_eq!(
        revoke(&db, TaskId::generate().0, "ops").await.expect("an answer"),
        None
    );
    stored(&db, &a_key("a", 2)).await;
    let states: Vec<bool> = list(&db)
        .await
        .expect("keys")
        .iter()
        .map(|key| key.revoked_at.is_some())
        .collect();
    assert_eq!(states, [false, true]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_last_use_only_rises(db: PgPool) {
    let (one, other) = (a_key("a", 1), a_key("b", 2));
    stored(&db, &one).await;
    stored(&db, &other).await;
    let used = async |ages: &[f64]| note_use(&db, &[other.id, one.id], ages).await.expect("an answer");
    assert_eq!(used(&[1.0, 1.0]).await, 2);
    assert_eq!(
        used(&[500.0, 0.0]).await,
        1,
        "an older use was written over a newer one"
    );
    assert_eq!(
        note_use(&db, &[TaskId::generate().0], &[0.0])
            .await
            .expect("an answer"),
        0
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn there_are_only_so_many_keys(db: PgPool) {
    assert_eq!(KEYS_MAX, 1_000);
    execute(
        &db,
        "INSERT INTO api_keys (id, name, key_sha256, role, created_by)
         SELECT gen_random_uuid(), 'k' || n, sha256(n::text::bytea), 'viewer', 'ops' FROM generate_series(1, 1000) n",
    )
    .await;
    assert_eq!(
        create(&db, &a_key("one-more", 1)).await.expect("an answer"),
        Created::TooMany
    );
    execute(
        &db,
        "UPDATE api_keys SET revoked_at = now(), revoked_by = 'ops' WHERE name = 'k1'",
    )
    .await;
    stored(&db, &a_key("one-more", 1)).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_table_refuses_an_admin_that_is_held_to_queues(db: PgPool) {
    let key = NewApiKey {
        role: Role::Admin,
        ..a_key("a", 1)
    };
    assert!(create(&db, &key).await.is_err());
}
