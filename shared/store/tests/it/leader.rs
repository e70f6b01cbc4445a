use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_store::leader::{campaign, renew, resign};

use super::support::{execute, wide_pool};

const TERM: f64 = 60.0;

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn one_of_twenty_candidates_takes_the_lease(db: PgPool) {
    let pool = wide_pool(&db, 20).await;
    let names: Vec<String> = (0..20).map(|number| format!("server-{number}")).collect();
    let terms = join_all(names.iter().map(|name| campaign(&pool, name, TERM))).await;
    let won = terms.into_iter().filter_map(|term| term.expect("an answer"));
    assert_eq!(won.collect::<Vec<_>>(), [1]);
    pool.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_lease_is_renewed_by_its_holder_in_its_term_only(db: PgPool) {
    assert_eq!(campaign(&db, "a", TERM).await.expect("an answer"), Some(1));
    assert!(renew(&db, "a", 1, TERM).await.expect("an answer"));
    assert!(!renew(&db, "b", 1, TERM).await.expect("an answer"));
    assert!(!renew(&db, "a", 2, TERM).await.expect("an answer"));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_lease_that_has_run_out_is_lost_and_the_next_one_has_a_higher_term(db: PgPool) {
    campaign(&db, "a", TERM).await.expect("an answer");
    execute(
        &db,
        "UPDATE leader_lease SET expires_at = now() - interval '1 ms'",
    )
    .await;
    assert!(!renew(&db, "a", 1, TERM).await.expect("an answer"));
    assert_eq!(campaign(&db, "b", TERM).await.expect("an answer"), Some(2));
    resign(&db, "a", 1).await.expect("an answer");
    assert!(
        renew(&db, "b", 2, TERM).await.expect("an answer"),
        "a late resignation took another's lease"
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_released_lease_can_be_taken_at_once(db: PgPool) {
    campaign(&db, "a", TERM).await.expect("an answer");
    assert_eq!(campaign(&db, "b", TERM).await.expect("an answer"), None);
    resign(&db, "a", 1).await.expect("an answer");
    assert_eq!(campaign(&db, "b", TERM).await.expect("an answer"), Some(2));
}
