use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_queue::RedisConfig;
use tasker_queue::{BLOCK_MAX, RedisQueues};
use tasker_testkit::{Proxy, RedisServer, TestQueue, eventually, free_port};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::lists::{hints, ids};

/// The maximum time until an error.
const AWAY: Duration = Duration::from_secs(3);
const RECOVERY: Duration = Duration::from_secs(10);

/// Asserts that every command fails in time.
async fn assert_unavailable(queue: &TestQueue) {
    let low = [QueueName::low()];
    let hint = hints(&low[0], 1);
    let mut popper = queue.popper(&low);
    assert!(timeout(AWAY, queue.is_up()).await.expect("in time").is_err());
    assert!(
        timeout(AWAY, queue.push_back(&hint))
            .await
            .expect("in time")
            .is_err()
    );
    assert!(timeout(AWAY, queue.depths(&low)).await.expect("in time").is_err());
    assert!(
        timeout(AWAY, popper.pop(1, BLOCK_MAX, true))
            .await
            .expect("in time")
            .is_err()
    );
    assert!(
        timeout(AWAY, queue.cancellations())
            .await
            .expect("in time")
            .is_err()
    );
}

#[tokio::test]
async fn a_redis_that_goes_is_an_error_at_once_and_its_return_is_noticed_without_a_restart() {
    let mut redis = RedisServer::start().await;
    let queue = TestQueue::at(&redis.url());
    let low = [QueueName::low()];
    let mut popper = queue.popper(&low);
    queue.is_up().await.expect("it is up");
    assert!(
        popper
            .pop(1, BLOCK_MAX, false)
            .await
            .expect("popped")
            .ids
            .is_empty()
    );

    redis.stop().await;
    assert_unavailable(&queue).await;
    assert!(
        timeout(AWAY, popper.pop(1, BLOCK_MAX, false))
            .await
            .expect("in time")
            .is_err()
    );

    redis.restart().await;
    eventually("the queue is up again", RECOVERY, async || {
        queue.is_up().await.is_ok()
    })
    .await;
    let hint = hints(&low[0], 1);
    queue.push_back(&hint).await.expect("pushed");
    let mut got = Vec::new();
    eventually("the same popper pops again", RECOVERY, async || {
        got.extend(
            popper
                .pop(1, BLOCK_MAX, true)
                .await
                .map(|some| some.ids)
                .unwrap_or_default(),
        );
        got == ids(&hint)
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_stops_answering_is_an_error_in_time_and_comes_back() {
    let mut redis = RedisServer::start().await;
    let queue = TestQueue::at(&redis.url());
    let low = [QueueName::low()];
    let mut popper = queue.popper(&low);
    queue.is_up().await.expect("it is up");
    popper.pop(1, BLOCK_MAX, false).await.expect("popped");

    redis.process().signal("STOP");
    assert!(timeout(AWAY, queue.is_up()).await.expect("in time").is_err());
    assert!(
        timeout(AWAY, popper.pop(1, BLOCK_MAX, false))
            .await
            .expect("in time")
            .is_err()
    );
    assert_unavailable(&queue).await;

    redis.process().signal("CONT");
    eventually("the queue is up again", RECOVERY, async || {
        queue.is_up().await.is_ok()
    })
    .await;
    eventually("the same popper pops again", RECOVERY, async || {
        popper.pop(1, BLOCK_MAX, true).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_counts_as_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let silent = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move { while stream.read_u8().await.is_ok() {} });
        }
    });
    assert_unavailable(&TestQueue::at(&format!("redis://127.0.0.1:{port}"))).await;
    silent.abort();
}

#[tokio::test]
async fn a_closed_port_is_an_error_at_once() {
    assert_unavailable(&TestQueue::at(&format!("redis://127.0.0.1:{}", free_port()))).await;
}

#[tokio::test]
async fn a_redis_out_of_memory_answers_and_accepts_pops_but_no_pushes() {
    let redis = RedisServer::start().await;
    let queue = TestQueue::at(&redis.url());
    let hint = hints(&QueueName::low(), 1);
    queue.takes_writes().await.expect("it takes pushes");
    queue.raw("CONFIG", &["SET", "maxmemory", "1"]);
    queue.is_up().await.expect("it answers");
    queue.allows_pops().await.expect("it accepts pops");
    assert!(queue.takes_writes().await.expect_err("refused").is_unavailable());
    assert!(
        queue
            .push_back(&hint)
            .await
            .expect_err("refused")
            .is_unavailable()
    );
    queue.raw("CONFIG", &["SET", "maxmemory", "0"]);
    queue.takes_writes().await.expect("it takes pushes");
    assert_eq!(queue.depths(&[QueueName::low()]).await.expect("depths"), [0]);
}

#[tokio::test]
async fn a_replica_answers_and_accepts_neither_pushes_nor_pops() {
    let redis = RedisServer::start().await;
    let queue = TestQueue::at(&redis.url());
    queue.raw("REPLICAOF", &["127.0.0.1", "1"]);
    queue.is_up().await.expect("it answers");
    assert!(queue.takes_writes().await.expect_err("refused").is_unavailable());
    assert!(queue.allows_pops().await.expect_err("refused").is_unavailable());
}

#[tokio::test]
async fn a_key_of_another_type_does_not_mean_that_redis_is_unavailable() {
    let queue = TestQueue::new();
    let low = QueueName::low();
    queue.raw("SET", &[&queue.keys().list(&low), "text"]);
    let error = queue.push_back(&hints(&low, 1)).await.expect_err("refused");
    assert!(!error.is_unavailable());
}

#[tokio::test]
async fn a_command_that_was_not_answered_takes_its_connection_with_it() {
    let redis = RedisServer::start().await;
    let (proxy, url) = Proxy::before_url(&redis.url()).await;
    let queue = TestQueue::at(&url);
    queue.is_up().await.expect("it is up");
    proxy.hang();
    assert!(timeout(AWAY, queue.is_up()).await.expect("in time").is_err());
    eventually("the connection is closed", RECOVERY, async || {
        proxy.heal();
        proxy.connections() == 0
    })
    .await;
    queue.is_up().await.expect("it is up");
}

#[tokio::test]
async fn a_redis_at_another_address_is_found_by_the_commands_that_follow() {
    let (first, second) = (RedisServer::start().await, RedisServer::start().await);
    let (proxy, url) = Proxy::before_url(&first.url()).await;
    let queue = TestQueue::at(&url);
    queue.is_up().await.expect("it is up");
    let address = second.url().trim_start_matches("redis://").parse();
    proxy.lead_to(address.expect("an address"));
    eventually("the queue is up again", RECOVERY, async || {
        queue.is_up().await.is_ok()
    })
    .await;
    queue
        .push_back(&hints(&QueueName::low(), 1))
        .await
        .expect("pushed");
    let second = RedisQueues::new(&RedisConfig {
        url: second.url().into(),
        authority: None,
        key_prefix: queue.config().key_prefix.clone(),
    });
    let depths = second.expect("a URL").depths(&[QueueName::low()]).await;
    assert_eq!(depths.expect("depths"), [1]);
}
