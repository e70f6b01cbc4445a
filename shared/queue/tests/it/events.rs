use std::time::Duration;

use tasker_core::task::TaskId;
use tasker_testkit::{RedisServer, TestQueue};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_cancellation_reaches_every_listener_of_its_deployment_and_no_other() {
    let (queue, other) = (TestQueue::new(), TestQueue::new());
    let mut first = queue.cancellations().await.expect("subscribed");
    let mut second = queue.cancellations().await.expect("subscribed");
    let mut foreign = other.cancellations().await.expect("subscribed");
    let (id, elsewhere) = (TaskId::generate(), TaskId::generate());
    queue.publish_cancellation(id).await.expect("published");
    other.publish_cancellation(elsewhere).await.expect("published");
    for (listener, wanted) in [(&mut first, id), (&mut second, id), (&mut foreign, elsewhere)] {
        let heard = timeout(PATIENCE, listener.next()).await.expect("in time");
        assert_eq!(heard, Some(wanted));
    }
}

#[tokio::test]
async fn a_notice_that_is_not_an_id_is_skipped() {
    let queue = TestQueue::new();
    let mut listener = queue.cancellations().await.expect("subscribed");
    let id = TaskId::generate();
    queue.raw("PUBLISH", &[&queue.keys().cancellations(), "junk"]);
    queue.publish_cancellation(id).await.expect("published");
    assert_eq!(
        timeout(PATIENCE, listener.next()).await.expect("in time"),
        Some(id)
    );
}

#[tokio::test]
async fn a_lost_connection_ends_the_listening() {
    let mut redis = RedisServer::start().await;
    let queue = TestQueue::at(&redis.url());
    let mut listener = queue.cancellations().await.expect("subscribed");
    redis.stop().await;
    assert_eq!(timeout(PATIENCE, listener.next()).await.expect("in time"), None);
    assert!(
        timeout(PATIENCE, queue.cancellations())
            .await
            .expect("in time")
            .is_err()
    );
}
