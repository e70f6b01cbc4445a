use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{PgPool, query_scalar};
use tasker_store::ConnectionCache;
use tasker_testkit::eventually;

const SOON: Duration = Duration::from_secs(30);

/// A pool of eight connections, so that two may be cached.
fn pool_of_eight(db: &PgPool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(8)
        .connect_lazy_with((*db.connect_options()).clone())
}

async fn backend(connection: &mut PgConnection) -> sqlx::Result<i32> {
    query_scalar("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await
}

#[sqlx::test(migrations = false)]
async fn a_released_connection_is_used_again_and_never_by_two(db: PgPool) {
    let cache = ConnectionCache::new(pool_of_eight(&db));
    let mut one = cache.take().await.expect("a connection");
    let first = backend(&mut one).await.expect("an answer");
    cache.release(one);
    let mut again = cache.take().await.expect("a connection");
    let mut other = cache.take().await.expect("a connection");
    assert_eq!(backend(&mut again).await.expect("an answer"), first);
    assert_ne!(backend(&mut other).await.expect("an answer"), first);
}

#[sqlx::test(migrations = false)]
async fn a_quarter_of_the_pool_is_cached_and_the_rest_stays_available(db: PgPool) {
    let pool = pool_of_eight(&db);
    let cache = ConnectionCache::new(pool.clone());
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(cache.take().await.expect("a connection"));
    }
    for connection in taken {
        cache.release(connection);
    }
    eventually("two are back in the pool", SOON, async || pool.num_idle() == 2).await;
    let mut everybody = Vec::new();
    for _ in 0..6 {
        everybody.push(pool.acquire().await.expect("a connection"));
    }
    for _ in 0..2 {
        cache.take().await.expect("a connection that was kept");
    }
}

#[sqlx::test(migrations = false)]
async fn a_connection_that_broke_or_was_discarded_is_not_kept(db: PgPool) {
    let cache = ConnectionCache::new(pool_of_eight(&db));
    let mut connection = cache.take().await.expect("a connection");
    let broken = backend(&mut connection).await.expect("an answer");
    let ended: bool = query_scalar("SELECT pg_terminate_backend($1, 10000)")
        .bind(broken)
        .fetch_one(&db)
        .await
        .expect("an answer");
    assert!(ended);
    assert!(backend(&mut connection).await.is_err());
    drop(connection);
    let mut next = cache.take().await.expect("a connection");
    let sound = backend(&mut next).await.expect("an answer");
    assert_ne!(sound, broken);
    next.discard();
    let mut last = cache.take().await.expect("a connection");
    assert_ne!(backend(&mut last).await.expect("an answer"), sound);
}
