use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use super::Pooler;
use crate::eventually;

async fn pooler(db: &PgPool, connections: usize) -> (Pooler, String) {
    Pooler::before_url(db.connect_options().to_url_lossy().as_str(), connections).await
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection")
}

/// Returns the backend's process id, queried with a prepared statement.
async fn backend(connection: &mut PgConnection) -> i32 {
    let asked = sqlx::query_as("SELECT pg_backend_pid(), $1::text").bind("bound");
    let (backend, bound): (i32, String) = asked.fetch_one(connection).await.expect("an answer");
    assert_eq!(bound, "bound");
    backend
}

#[sqlx::test(migrations = false)]
async fn clients_share_one_backend_and_keep_their_prepared_statements_apart(db: PgPool) {
    let (_pooler, url) = pooler(&db, 1).await;
    let (mut one, mut other) = (connect(&url).await, connect(&url).await);
    let first = backend(&mut one).await;
    let fault = sqlx::query("SELECT nothing_of_that_name")
        .execute(&mut other)
        .await;
    assert!(fault.is_err());
    for _ in 0..2 {
        assert_eq!(backend(&mut other).await, first);
        assert_eq!(backend(&mut one).await, first);
    }
}

#[sqlx::test(migrations = false)]
async fn a_prepared_statement_follows_its_client_to_another_backend(db: PgPool) {
    let (_pooler, url) = pooler(&db, 2).await;
    let (mut one, mut other) = (connect(&url).await, connect(&url).await);
    let first = backend(&mut one).await;
    let mut open = other.begin().await.expect("a transaction");
    assert_eq!(backend(&mut open).await, first);
    for _ in 0..2 {
        assert_ne!(backend(&mut one).await, first);
    }
}

#[sqlx::test(migrations = false)]
async fn a_client_that_vanishes_in_a_transaction_takes_its_backend_along(db: PgPool) {
    let (_pooler, url) = pooler(&db, 1).await;
    let mut one = connect(&url).await;
    let first = backend(&mut one).await;
    sqlx::raw_sql("BEGIN")
        .execute(&mut one)
        .await
        .expect("a transaction");
    drop(one);
    assert_ne!(backend(&mut connect(&url).await).await, first);
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
    eventually("the backend has ended", Duration::from_secs(10), async || {
        let left: i64 = sqlx::query_scalar(sql)
            .bind(first)
            .fetch_one(&db)
            .await
            .expect("a count");
        left == 0
    })
    .await;
}
