use tasker_core::task::{QueueName, TaskId};
use tasker_queue::{BLOCK_MAX, Hint};
use tasker_testkit::TestQueue;

pub(crate) fn hints(queue: &QueueName, count: usize) -> Vec<Hint> {
    (0..count)
        .map(|_| Hint::new(TaskId::generate(), queue.clone(), "echo"))
        .collect()
}

pub(crate) fn ids(hints: &[Hint]) -> Vec<TaskId> {
    hints.iter().map(|hint| hint.id).collect()
}

#[tokio::test]
async fn ids_leave_a_list_in_the_order_in_which_they_came() {
    let queue = TestQueue::new();
    let default = QueueName::default_class();
    let all = hints(&default, 6);
    queue.push_back(&all[2..4]).await.expect("pushed");
    queue.push_back(&all[4..]).await.expect("pushed");
    queue.push_front(&all[..2]).await.expect("pushed");
    let got = queue
        .popper(&[default])
        .pop(10, BLOCK_MAX, false)
        .await
        .expect("popped");
    assert_eq!(got.ids, ids(&all));
}

#[tokio::test]
async fn one_push_fills_many_lists_each_in_its_order() {
    let queue = TestQueue::new();
    let classes = QueueName::classes();
    let mut mixed: Vec<Hint> = Vec::new();
    for n in 0..12_003 {
        mixed.push(Hint::new(TaskId::generate(), classes[n % 3].clone(), "echo"));
    }
    queue.push_back(&mixed).await.expect("pushed");
    assert_eq!(queue.depths(&classes).await.expect("depths"), [4001, 4001, 4001]);
    for class in &classes {
        let wanted: Vec<TaskId> = mixed
            .iter()
            .filter(|hint| hint.queue == *class)
            .map(|hint| hint.id)
            .collect();
        let got = queue
            .popper(std::slice::from_ref(class))
            .pop(5000, BLOCK_MAX, false)
            .await
            .expect("popped");
        assert_eq!(got.ids, wanted);
    }
}

#[tokio::test]
async fn a_push_larger_than_one_command_keeps_its_order_at_either_end() {
    let queue = TestQueue::new();
    let low = QueueName::low();
    let all = hints(&low, 11_000);
    queue.push_back(&all).await.expect("pushed");
    let mut popper = queue.popper(std::slice::from_ref(&low));
    assert_eq!(
        popper.pop(20_000, BLOCK_MAX, false).await.expect("popped").ids,
        ids(&all)
    );
    queue.push_front(&all).await.expect("pushed");
    assert_eq!(
        popper.pop(20_000, BLOCK_MAX, false).await.expect("popped").ids,
        ids(&all)
    );
}

#[tokio::test]
async fn depths_come_in_the_order_asked_and_a_missing_list_is_empty() {
    let queue = TestQueue::new();
    let (high, low) = (QueueName::high(), QueueName::low());
    queue.push_back(&hints(&low, 3)).await.expect("pushed");
    queue.push_back(&[]).await.expect("nothing is pushed");
    let depths = queue.depths(&[low, high]).await.expect("depths");
    assert_eq!(depths, [3, 0]);
}

#[tokio::test]
async fn two_prefixes_do_not_see_each_other() {
    let (one, other) = (TestQueue::new(), TestQueue::new());
    let default = [QueueName::default_class()];
    one.push_back(&hints(&default[0], 2)).await.expect("pushed");
    assert_eq!(other.depths(&default).await.expect("depths"), [0]);
    assert!(
        other
            .popper(&default)
            .pop(10, BLOCK_MAX, false)
            .await
            .expect("popped")
            .ids
            .is_empty()
    );
    assert_eq!(one.depths(&default).await.expect("depths"), [2]);
}

#[tokio::test]
async fn urgent_ids_go_to_the_head_and_a_batch_keeps_its_order() {
    let queue = TestQueue::new();
    let default = QueueName::default_class();
    let usual = hints(&default, 2);
    queue.push_back(&usual).await.expect("pushed");
    let batch: Vec<Hint> = [51, 100, 50]
        .into_iter()
        .zip(hints(&default, 3))
        .map(|(priority, hint)| hint.with_priority(priority))
        .collect();
    queue.push_back(&batch).await.expect("pushed");
    let newest = hints(&default, 1).remove(0).with_priority(99);
    queue
        .push_back(std::slice::from_ref(&newest))
        .await
        .expect("pushed");
    let mut popper = queue.popper(&[default]);
    let answer = popper.pop(9, BLOCK_MAX, false).await.expect("popped");
    let urgent = [newest.id, batch[0].id, batch[1].id];
    assert_eq!(answer.ids, [&urgent[..], &ids(&usual), &[batch[2].id]].concat());
}
