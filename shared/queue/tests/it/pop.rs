use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_queue::BLOCK_MAX;
use tasker_testkit::{TestQueue, eventually};
use tokio::time::timeout;

use super::lists::{hints, ids};

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_pop_empties_the_first_list_before_it_looks_at_the_second() {
    let queue = TestQueue::new();
    let classes = QueueName::classes();
    let (high, low) = (hints(&classes[0], 5), hints(&classes[2], 3));
    queue.push_back(&low).await.expect("pushed");
    queue.push_back(&high).await.expect("pushed");
    let mut popper = queue.popper(&classes);
    let first = popper.pop(4, BLOCK_MAX, true).await.expect("popped");
    assert_eq!(
        (first.ids, first.queue, first.left),
        (ids(&high[..4]), Some(QueueName::high()), Some(4))
    );
    let second = popper.pop(4, BLOCK_MAX, true).await.expect("popped");
    assert_eq!(
        (second.ids, second.left),
        (ids(&high[4..]), Some(3)),
        "one list a pop"
    );
    let third = popper.pop(4, BLOCK_MAX, false).await.expect("popped");
    assert_eq!(
        (third.ids, third.queue, third.left),
        (ids(&low), Some(QueueName::low()), None)
    );
}

#[tokio::test]
async fn a_pop_serves_only_the_lists_it_was_given_in_their_order() {
    let queue = TestQueue::new();
    let classes = QueueName::classes();
    for class in &classes {
        queue.push_back(&hints(class, 1)).await.expect("pushed");
    }
    let mut popper = queue.popper(&[QueueName::low(), QueueName::high()]);
    let mut order = Vec::new();
    for _ in 0..2 {
        order.push(
            popper
                .pop(9, BLOCK_MAX, false)
                .await
                .expect("popped")
                .queue
                .expect("a queue"),
        );
    }
    assert_eq!(order, [QueueName::low(), QueueName::high()]);
    assert!(
        popper
            .pop(9, BLOCK_MAX, false)
            .await
            .expect("popped")
            .ids
            .is_empty()
    );
}

#[tokio::test]
async fn a_pop_of_empty_lists_comes_back_empty() {
    let queue = TestQueue::new();
    let mut popper = queue.popper(&QueueName::classes());
    for count_left in [false, true] {
        let got = timeout(PATIENCE, popper.pop(10, BLOCK_MAX, count_left)).await;
        let got = got.expect("in time").expect("popped");
        assert!(got.ids.is_empty() && got.queue.is_none());
        assert_eq!(got.left, count_left.then_some(0));
    }
}

#[tokio::test]
async fn a_push_ends_a_pop_that_waits() {
    let queue = TestQueue::new();
    let mut popper = queue.popper(&QueueName::classes());
    let hint = hints(&QueueName::low(), 1);
    let push = async {
        tokio::task::yield_now().await;
        queue.push_back(&hint).await.expect("pushed");
    };
    let (got, ()) = tokio::join!(popper.pop(10, BLOCK_MAX, false), push);
    assert_eq!(got.expect("popped").ids, ids(&hint));
}

#[tokio::test]
async fn an_unblock_ends_a_pop_that_waits_and_the_connection_goes_on() {
    let queue = TestQueue::new();
    let mut popper = queue.popper(&[QueueName::low()]);
    let unblocker = popper.unblocker();
    unblocker
        .unblock()
        .await
        .expect("without a connection it does nothing");
    // the first pop connects; the unblocks end the later ones, so that three take less than their three
    // seconds
    popper.pop(1, BLOCK_MAX, false).await.expect("popped");
    let start = std::time::Instant::now();
    for _ in 0..3 {
        let pop = tokio::spawn(async move { (popper.pop(1, BLOCK_MAX, false).await, popper) });
        eventually("the pop ends", PATIENCE, async || {
            unblocker.unblock().await.expect("unblocked");
            pop.is_finished()
        })
        .await;
        let (got, same) = pop.await.expect("no panic");
        assert!(
            got.expect("an unblocked pop returns without an error")
                .ids
                .is_empty()
        );
        popper = same;
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let hint = hints(&QueueName::low(), 1);
    queue.push_back(&hint).await.expect("pushed");
    assert_eq!(
        popper.pop(1, BLOCK_MAX, false).await.expect("popped").ids,
        ids(&hint)
    );
}

#[tokio::test]
async fn entries_that_are_no_ids_are_skipped() {
    let queue = TestQueue::new();
    let low = QueueName::low();
    let key = queue.keys().list(&low);
    let hint = hints(&low, 2);
    queue.push_back(&hint[..1]).await.expect("pushed");
    queue.raw("RPUSH", &[&key, "", "junk", "6e8bc430-9c3a"]);
    queue.push_back(&hint[1..]).await.expect("pushed");
    let mut popper = queue.popper(&[low]);
    assert_eq!(
        popper.pop(10, BLOCK_MAX, true).await.expect("popped").ids,
        ids(&hint)
    );
    queue.raw("RPUSH", &[&key, "junk"]);
    let got = popper.pop(10, BLOCK_MAX, true).await.expect("popped");
    assert!(got.ids.is_empty() && got.queue.is_some());
}

#[tokio::test]
async fn a_key_of_another_kind_is_an_error_and_not_a_hang() {
    let queue = TestQueue::new();
    let low = QueueName::low();
    queue.raw("SET", &[&queue.keys().list(&low), "text"]);
    let mut popper = queue.popper(std::slice::from_ref(&low));
    for count_left in [false, true] {
        let got = timeout(PATIENCE, popper.pop(10, BLOCK_MAX, count_left))
            .await
            .expect("in time");
        assert!(got.is_err());
    }
    assert!(queue.push_back(&hints(&low, 1)).await.is_err());
    assert_eq!(queue.depths(&[low]).await.expect("lengths"), [0]);
}
