use std::time::Duration;

use tasker_core::task::{QueueName, TaskId};
use tasker_queue::{BLOCK_MAX, Popper};
use tasker_testkit::{TestQueue, eventually};

use super::lists::{hints, ids};

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(10);

/// The result of a pop that takes starved heads first: ids, and whether they were starved.
async fn pop(popper: &mut Popper, count: usize) -> (Vec<TaskId>, bool) {
    let got = popper.pop_starved_first(count, true).await.expect("popped");
    (got.ids, got.starved)
}

#[tokio::test]
async fn starved_heads_come_before_the_class_above_and_no_more_of_them_than_published() {
    let queue = TestQueue::new();
    let [high, default, low] = QueueName::classes();
    let (urgent, usual, late) = (hints(&high, 2), hints(&default, 2), hints(&low, 4));
    for hints in [&urgent, &usual, &late] {
        queue.push_back(hints).await.expect("pushed");
    }
    queue
        .publish_starved(&[(default.clone(), 1), (low.clone(), 3)], LONG)
        .await
        .expect("published");
    let mut popper = queue.popper(&[high, default, low]);
    assert_eq!(pop(&mut popper, 9).await, (ids(&usual[..1]), true));
    assert_eq!(pop(&mut popper, 9).await, (ids(&urgent), false));
    assert_eq!(pop(&mut popper, 2).await, (ids(&late[..2]), true));
    assert_eq!(pop(&mut popper, 9).await, (ids(&late[2..3]), true));
    assert_eq!(pop(&mut popper, 9).await, (ids(&usual[1..]), false));
    assert_eq!(pop(&mut popper, 9).await, (ids(&late[3..]), false));
    assert_eq!(pop(&mut popper, 9).await, (Vec::new(), false));
}

#[tokio::test]
async fn a_worker_that_does_not_serve_both_classes_applies_no_aging() {
    let queue = TestQueue::new();
    let [high, default, low] = QueueName::classes();
    let (usual, late) = (hints(&default, 2), hints(&low, 2));
    for hints in [&usual, &late] {
        queue.push_back(hints).await.expect("pushed");
    }
    queue
        .publish_starved(&[(default.clone(), 2), (low.clone(), 2)], LONG)
        .await
        .expect("published");
    let mut dedicated = queue.popper(std::slice::from_ref(&high));
    assert!(!dedicated.applies_aging());
    assert_eq!(pop(&mut dedicated, 9).await, (Vec::new(), false));
    let mut without_default = queue.popper(&[high, low]);
    let got = without_default.pop(1, BLOCK_MAX, false).await.expect("popped");
    assert_eq!(
        (got.ids, got.starved, got.starved_left),
        (ids(&late[..1]), false, false)
    );
}

#[tokio::test]
async fn every_pop_returns_whether_starved_heads_are_left_and_a_publication_expires() {
    let queue = TestQueue::new();
    let [high, default, low] = QueueName::classes();
    for class in [&high, &default] {
        queue.push_back(&hints(class, 50)).await.expect("pushed");
    }
    let mut popper = queue.popper(&[high, default.clone(), low]);
    let aged_left = async |popper: &mut Popper| {
        let got = popper.pop(1, BLOCK_MAX, false).await.expect("popped");
        assert!(!got.starved);
        got.starved_left
    };
    assert!(!aged_left(&mut popper).await);
    let publish = async |count, ttl| {
        let heads = [(default.clone(), count)];
        queue.publish_starved(&heads, ttl).await.expect("published");
    };
    publish(2, LONG).await;
    assert!(aged_left(&mut popper).await);
    let got = popper.pop_starved_first(9, false).await.expect("popped");
    assert_eq!((got.ids.len(), got.starved, got.starved_left), (2, true, false));
    publish(1, LONG).await;
    publish(0, LONG).await;
    assert!(!aged_left(&mut popper).await);
    publish(1, Duration::from_millis(20)).await;
    eventually("what was published is forgotten", SOON, async || {
        !aged_left(&mut popper).await
    })
    .await;
}

#[tokio::test]
async fn starved_heads_that_are_gone_do_not_count_for_later_ones() {
    let queue = TestQueue::new();
    let [high, default, low] = QueueName::classes();
    let (usual, young) = (hints(&default, 2), hints(&low, 1));
    queue
        .publish_starved(&[(low.clone(), 5)], LONG)
        .await
        .expect("published");
    queue.push_back(&usual).await.expect("pushed");
    let mut popper = queue.popper(&[high, default, low]);
    assert_eq!(pop(&mut popper, 1).await, (ids(&usual[..1]), false));
    queue.push_back(&young).await.expect("pushed");
    assert_eq!(pop(&mut popper, 9).await, (ids(&usual[1..]), false));
    assert_eq!(pop(&mut popper, 9).await, (ids(&young), false));
}

#[tokio::test]
async fn a_class_whose_heads_are_all_starved_does_not_keep_the_one_below_from_its_turn() {
    let queue = TestQueue::new();
    let [high, default, low] = QueueName::classes();
    let (usual, late) = (hints(&default, 2), hints(&low, 1));
    for hints in [&usual, &late] {
        queue.push_back(hints).await.expect("pushed");
    }
    queue
        .publish_starved(&[(default.clone(), 2), (low.clone(), 1)], LONG)
        .await
        .expect("published");
    let mut popper = queue.popper(&[high, default, low]);
    assert_eq!(pop(&mut popper, 9).await, (ids(&late), true));
    assert_eq!(pop(&mut popper, 9).await, (ids(&usual), false));
}
