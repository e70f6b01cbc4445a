//! A Redis that hangs, rejects writes, or is replaced by another one. Submits are not affected.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_store::migrations::MIGRATOR;
use tasker_testkit::{Proxy, RedisServer, TestQueue};

use crate::harness::{Server, eventually};

/// The maximum duration of a submit in any state of Redis.
const SOON: Duration = Duration::from_secs(1);

async fn start(db: PgPool, redis_url: &str) -> Server {
    let settings: [(&'static str, &str); 2] = [("REDIS_URL", redis_url), ("BREAKER_COOLDOWN", "500ms")];
    Server::start_with(db, &settings).await
}

async fn submit_in_time(server: &Server) {
    let began = Instant::now();
    server.submit(json!({"task_name": "noop"})).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

async fn breaker(server: &Server) -> Value {
    server.get("/health/detailed").await.json()["breakers"]["redis"].take()
}

/// Submits until the breaker is open.
async fn until_open(server: &Server) {
    eventually(async || {
        submit_in_time(server).await;
        (breaker(server).await == "open").then_some(())
    })
    .await;
    // skipped commands cost no time
    submit_in_time(server).await;
    assert_eq!(server.get("/health/ready").await.status, 200);
    assert_eq!(server.get("/health").await.json()["redis"], json!("degraded"));
}

/// Waits until the breaker closes and pushes arrive.
async fn until_pushed(server: &Server) {
    eventually(async || (breaker(server).await == "closed").then_some(())).await;
    let before = server.depth(&QueueName::default_class()).await;
    submit_in_time(server).await;
    eventually(async || {
        let depth = server.depth(&QueueName::default_class()).await;
        (depth == before + 1).then_some(())
    })
    .await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_redis_that_hangs_delays_no_submit_and_comes_back_without_a_restart(db: PgPool) {
    let redis = RedisServer::start().await;
    let (proxy, url) = Proxy::before_url(&redis.url()).await;
    let server = start(db, &url).await;
    submit_in_time(&server).await;
    proxy.hang();
    until_open(&server).await;
    let queues = server.get("/queues").await;
    assert_eq!(queues.json()["queues"][1]["depth"], Value::Null);
    assert_eq!(queues.json()["queues"][1]["unroutable"], Value::Null);
    proxy.heal();
    until_pushed(&server).await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_redis_without_memory_counts_as_away_until_it_has_some(db: PgPool) {
    let redis = RedisServer::start().await;
    let admin = TestQueue::at(&redis.url());
    let server = start(db, &redis.url()).await;
    admin.raw("CONFIG", &["SET", "maxmemory", "1"]);
    until_open(&server).await;
    admin.raw("CONFIG", &["SET", "maxmemory", "0"]);
    until_pushed(&server).await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_redis_that_became_a_replica_counts_as_away_until_it_takes_writes(db: PgPool) {
    let redis = RedisServer::start().await;
    let admin = TestQueue::at(&redis.url());
    let server = start(db, &redis.url()).await;
    // of a master that does not exist
    admin.raw("REPLICAOF", &["127.0.0.1", "1"]);
    until_open(&server).await;
    admin.raw("REPLICAOF", &["NO", "ONE"]);
    until_pushed(&server).await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_redis_at_another_address_is_found_without_a_restart(db: PgPool) {
    let (mut first, second) = (RedisServer::start().await, RedisServer::start().await);
    let (proxy, url) = Proxy::before_url(&first.url()).await;
    let server = start(db, &url).await;
    submit_in_time(&server).await;
    first.stop().await;
    until_open(&server).await;
    let address = second.url().trim_start_matches("redis://").parse();
    proxy.lead_to(address.expect("an address"));
    until_pushed(&server).await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_of_another_type_is_not_an_outage(db: PgPool) {
    let redis = RedisServer::start().await;
    let admin = TestQueue::at(&redis.url());
    let server = start(db, &redis.url()).await;
    let list = server.lists().keys().list(&QueueName::default_class());
    admin.raw("SET", &[&list, "text"]);
    for _ in 0..6 {
        submit_in_time(&server).await;
    }
    assert_eq!(breaker(&server).await, "closed");
    server.stop().await;
}
