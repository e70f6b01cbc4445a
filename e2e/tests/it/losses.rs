//! Redis loses its data or is unavailable: Postgres is the source of truth, and fallback polls find tasks
//! without hints.

use sqlx::{ConnectOptions, PgPool};
use tasker_testkit::{Proxy, RedisServer, System};

use crate::harness::{Idle, SOON, Small, all_complete_once, echo, submit_batch};

#[sqlx::test(migrations = false)]
async fn tasks_whose_hints_are_lost_under_load_all_complete(db: PgPool) {
    let idle = Idle::on(System::new(&db).with("WORKER_POOL_SIZE", "16")).await;
    let mut ids = submit_batch(&idle.server, 300).await;
    idle.system.queue().delete_all();
    assert_eq!(idle.system.queue().llen("default"), 0);
    let _worker = idle.system.worker(&[]).await;
    for _ in 0..3 {
        ids.extend(submit_batch(&idle.server, 300).await);
        idle.system.queue().delete_all();
    }
    all_complete_once(&db, &ids).await;
}

#[sqlx::test(migrations = false)]
async fn without_redis_work_is_accepted_and_done_and_afterwards_too(db: PgPool) {
    let mut redis = RedisServer::start().await;
    let database = db.connect_options().to_url_lossy();
    let small = Small::on(System::on(database.as_str(), &redis.url())).await;
    redis.stop().await;
    let id = small.server.submit(&echo(1)).await;
    small.server.wait_for(&id, "completed", SOON).await;
    let (status, health) = small.server.get("/health/ready").await;
    assert_eq!(
        status, 200,
        "a server without Redis is degraded, and ready: {health}"
    );
    redis.restart().await;
    let id = small.server.submit(&echo(2)).await;
    small.server.wait_for(&id, "completed", SOON).await;
}

#[sqlx::test(migrations = false)]
async fn a_redis_that_only_the_server_cannot_reach_delays_tasks_and_loses_none(db: PgPool) {
    let (proxy, url) = Proxy::before_url(&tasker_testkit::redis_url()).await;
    let system = System::new(&db);
    let server = system.server(&[("REDIS_URL", &url)]).await;
    let _worker = system.worker(&[]).await;
    let known = server.submit(&echo(0)).await;
    server.wait_for(&known, "completed", SOON).await;
    proxy.cut();
    let ids = submit_batch(&server, 50).await;
    // the worker's own Redis is available but empty, so it also polls the table
    all_complete_once(&db, &ids).await;
    proxy.heal();
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
}
