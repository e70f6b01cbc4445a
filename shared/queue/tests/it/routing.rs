//! Queues that are split by task type: pushes, pops, counts, parking and removal.

use std::time::Duration;

use tasker_core::task::{Hint, QueueName, TaskId};
use tasker_queue::{Adopted, List, Popper, Split};
use tasker_testkit::TestQueue;

const NOW: Duration = Duration::from_millis(10);

fn default() -> QueueName {
    QueueName::default_class()
}

/// Hints of one type for the default queue, in the order of their ids.
fn of_type(task_name: &str, count: usize) -> Vec<Hint> {
    (0..count)
        .map(|_| Hint::new(TaskId::generate(), default(), task_name))
        .collect()
}

fn ids(hints: &[Hint]) -> Vec<TaskId> {
    hints.iter().map(|hint| hint.id).collect()
}

async fn push(queue: &TestQueue, hints: &[Hint]) {
    queue.push_back(hints).await.expect("pushed");
}

/// Makes the default queue split, with these hints in its type lists.
async fn split(queue: &TestQueue, hints: &[Hint]) -> Adopted {
    let name = default();
    let generation = queue.open_type_lists(&name).await.expect("opened");
    let mut rebuild = queue.begin_rebuild(&name, "test");
    for hint in hints {
        let task_name = hint.task_name.as_deref().expect("a type");
        let list = List::Type(&name, task_name);
        rebuild.add(list, &[hint.id]).await.expect("added");
    }
    let adopted = rebuild.adopt(&generation).await.expect("an answer");
    adopted.expect("adopted")
}

/// A popper of these types whose worker knows that the queue is split.
async fn worker(queue: &TestQueue, task_names: &[&str]) -> Popper {
    let mut popper = queue.popper_of_types(&[default()], task_names);
    let first = popper.pop_starved_first(0, false).await.expect("an answer");
    assert!(first.ids.is_empty());
    popper
}

async fn pop(popper: &mut Popper, count: usize) -> Vec<TaskId> {
    popper.pop(count, NOW, false).await.expect("popped").ids
}

async fn depth(queue: &TestQueue) -> u64 {
    queue.depths(&[default()]).await.expect("depths")[0]
}

async fn parked(queue: &TestQueue) -> u64 {
    queue.unroutable(&[default()]).await.expect("lengths")[0]
}

#[tokio::test]
async fn a_worker_pops_its_own_types_alone_and_the_main_list_counts_all() {
    let queue = TestQueue::new();
    let (a, b) = (of_type("a", 3), of_type("b", 2));
    push(&queue, &[&*a, &*b].concat()).await;
    split(&queue, &[&*a, &*b].concat()).await;
    let mut knows_b = worker(&queue, &["b"]).await;
    assert_eq!(pop(&mut knows_b, 9).await, ids(&b));
    assert_eq!(depth(&queue).await, 3);
    assert!(pop(&mut knows_b, 9).await.is_empty());
    let mut knows_both = worker(&queue, &["a", "b"]).await;
    assert_eq!(pop(&mut knows_both, 2).await, ids(&a[..2]));
    assert_eq!(depth(&queue).await, 1);
}

#[tokio::test]
async fn a_worker_that_waits_receives_a_task_of_its_type_at_once_and_no_other() {
    let queue = TestQueue::new();
    split(&queue, &[]).await;
    let mut knows_b = worker(&queue, &["b"]).await;
    let (a, b) = (of_type("a", 1), of_type("b", 1));
    let pushes = async {
        tokio::task::yield_now().await;
        push(&queue, &a).await;
        push(&queue, &b).await;
    };
    let (popped, ()) = tokio::join!(knows_b.pop(9, Duration::from_secs(1), true), pushes);
    let popped = popped.expect("popped");
    assert_eq!(popped.ids, ids(&b));
    assert_eq!(popped.task_names[&b[0].id], "b");
    assert_eq!(depth(&queue).await, 1);
}

#[tokio::test]
async fn between_types_the_oldest_head_comes_first_and_what_went_to_the_head_before_all() {
    let queue = TestQueue::new();
    split(&queue, &[]).await;
    let mixed: Vec<Hint> = (0..8)
        .map(|n| of_type(if n % 2 == 0 { "a" } else { "b" }, 1).remove(0))
        .collect();
    push(&queue, &mixed).await;
    let urgent = of_type("b", 1).remove(0).with_priority(51);
    push(&queue, std::slice::from_ref(&urgent)).await;
    let mut popper = worker(&queue, &["a", "b"]).await;
    let mut order = Vec::new();
    for _ in 0..9 {
        order.extend(pop(&mut popper, 1).await);
    }
    let expected: Vec<TaskId> = std::iter::once(urgent.id).chain(ids(&mixed)).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn what_is_pushed_while_type_lists_are_filled_is_kept_once() {
    let queue = TestQueue::new();
    let name = default();
    let old = of_type("a", 2);
    push(&queue, &old).await;
    let generation = queue.open_type_lists(&name).await.expect("opened");
    let meanwhile = of_type("a", 2);
    push(&queue, &meanwhile).await;
    let mut rebuild = queue.begin_rebuild(&name, "test");
    // the table already contains the first of the ids that were pushed meanwhile
    let seen = [ids(&old), ids(&meanwhile[..1])].concat();
    rebuild.add(List::Type(&name, "a"), &seen).await.expect("added");
    let adopted = rebuild.adopt(&generation).await.expect("an answer");
    let adopted = adopted.expect("adopted");
    assert_eq!((adopted.merged, adopted.lost), (1, false));
    assert_eq!(depth(&queue).await, 4);
    let mut popper = worker(&queue, &["a"]).await;
    assert_eq!(pop(&mut popper, 9).await, [ids(&old), ids(&meanwhile)].concat());
}

#[tokio::test]
async fn a_queue_that_becomes_plain_again_has_all_its_ids_in_order_in_its_main_list() {
    let queue = TestQueue::new();
    let name = default();
    let mixed: Vec<Hint> = (0..6)
        .map(|n| of_type(if n % 2 == 0 { "a" } else { "b" }, 1).remove(0))
        .collect();
    split(&queue, &mixed).await;
    let released = of_type("a", 1);
    queue.push_front(&released).await.expect("pushed");
    queue.unsplit(&name).await.expect("a step");
    assert_eq!(queue.split(&name).await.expect("a state"), Split::Opening);
    let mut popper = worker(&queue, &["a", "b"]).await;
    let expected = [ids(&released), ids(&mixed)].concat();
    assert_eq!(pop(&mut popper, 3).await, expected[..3]);
    queue.unsplit(&name).await.expect("a step");
    assert_eq!(queue.split(&name).await.expect("a state"), Split::Plain);
    assert_eq!(pop(&mut popper, 9).await, expected[3..]);
    assert!(queue.split_types(&name).await.expect("types").is_empty());
}

#[tokio::test]
async fn a_long_backlog_stays_split() {
    let queue = TestQueue::new();
    let name = default();
    split(&queue, &[]).await;
    push(&queue, &of_type("a", 5_001)).await;
    queue.unsplit(&name).await.expect("a step");
    assert_eq!(queue.split(&name).await.expect("a state"), Split::Split);
}

#[tokio::test]
async fn removed_hints_are_gone_from_whichever_list_holds_them() {
    let queue = TestQueue::new();
    let (a, b) = (of_type("a", 40), of_type("b", 3));
    push(&queue, &[&*a, &*b].concat()).await;
    // the head, some from the middle and the tail
    let gone: Vec<Hint> = a.iter().step_by(3).cloned().collect();
    queue.remove(&gone).await.expect("removed");
    assert_eq!(depth(&queue).await, 43 - gone.len() as u64);

    let rest: Vec<Hint> = a.iter().filter(|hint| !gone.contains(hint)).cloned().collect();
    split(&queue, &[&*rest, &*b].concat()).await;
    let released = of_type("b", 1);
    queue.push_front(&released).await.expect("pushed");
    queue
        .remove(&[&rest[..2], &*released].concat())
        .await
        .expect("removed");
    assert_eq!(depth(&queue).await, (rest.len() - 2 + b.len()) as u64);
    queue.park_type(&default(), "b").await.expect("parked");
    queue.remove(&b[1..2]).await.expect("removed");
    assert_eq!(parked(&queue).await, 2);
    assert_eq!(depth(&queue).await, (rest.len() - 2) as u64);
    let states = queue.routing(&[default()]).await.expect("states");
    assert_eq!(states[0].unremoved, 0, "each was found");
}

#[tokio::test]
async fn hints_too_deep_to_be_removed_at_once_are_counted_and_popped_ones_are_not() {
    let queue = TestQueue::new();
    let hints = of_type("a", 3_000);
    push(&queue, &hints).await;
    queue.remove(&hints[1_500..1_510]).await.expect("removed");
    let mut popper = queue.popper_of_types(&[default()], &["a"]);
    pop(&mut popper, 5).await;
    queue.remove(&hints[..5]).await.expect("removed");
    let states = queue.routing(&[default()]).await.expect("states");
    assert_eq!(states[0].unremoved, 10);
    let again = queue.routing(&[default()]).await.expect("states");
    assert_eq!(again[0].unremoved, 0, "it is reported once");
}

#[tokio::test]
async fn parked_hints_leave_the_depth_and_only_a_split_queue_parks_a_type() {
    let queue = TestQueue::new();
    let (a, b) = (of_type("a", 2), of_type("b", 3));
    push(&queue, &[&*a, &*b].concat()).await;
    assert_eq!(queue.park_type(&default(), "b").await.expect("an answer"), 0);
    split(&queue, &[&*a, &*b].concat()).await;
    assert_eq!(queue.park_type(&default(), "b").await.expect("an answer"), 3);
    assert_eq!((depth(&queue).await, parked(&queue).await), (2, 3));
    assert_eq!(queue.split_types(&default()).await.expect("types"), ["a"]);
}

#[tokio::test]
async fn a_main_list_that_was_deleted_or_is_too_long_counts_right_again() {
    let queue = TestQueue::new();
    let a = of_type("a", 5);
    split(&queue, &a).await;
    let key = queue.keys().list(&default());
    queue.raw("DEL", &[&key]);
    queue.balance(&[default()]).await.expect("balanced");
    assert_eq!(depth(&queue).await, 5);
    queue.raw("RPUSH", &[&key, "x", "y"]);
    queue.balance(&[default()]).await.expect("balanced");
    assert_eq!(depth(&queue).await, 5);
}

#[tokio::test]
async fn starved_heads_of_a_split_class_come_before_the_class_above() {
    let queue = TestQueue::new();
    let a = of_type("a", 3);
    split(&queue, &a).await;
    let urgent = [Hint::new(TaskId::generate(), QueueName::high(), "a")];
    push(&queue, &urgent).await;
    let starved = [(default(), 2)];
    queue
        .publish_starved(&starved, Duration::from_mins(1))
        .await
        .expect("published");
    let mut popper = queue.popper_of_types(&[QueueName::high(), default()], &["a"]);
    let first = popper.pop_starved_first(9, false).await.expect("popped");
    assert_eq!((first.ids, first.starved), (ids(&a[..2]), true));
    let second = popper.pop_starved_first(9, false).await.expect("popped");
    assert_eq!((second.ids, second.starved), (ids(&urgent), false));
    assert_eq!(pop(&mut popper, 9).await, ids(&a[2..]));
}

#[tokio::test]
async fn a_key_of_another_type_stops_its_own_queue_alone() {
    let queue = TestQueue::new();
    let (high, low) = (QueueName::high(), QueueName::low());
    queue.raw("SET", &[&queue.keys().list(&high), "text"]);
    let hints = [Hint::new(TaskId::generate(), low.clone(), "a")];
    push(&queue, &hints).await;
    let mut popper = queue.popper(&[high, low]);
    assert_eq!(pop(&mut popper, 9).await, ids(&hints));
    let began = std::time::Instant::now();
    let more = [Hint::new(TaskId::generate(), QueueName::low(), "a")];
    push(&queue, &more).await;
    assert_eq!(pop(&mut popper, 9).await, ids(&more));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn pages_read_from_the_tail_are_swept_while_heads_are_popped() {
    let queue = TestQueue::new();
    let name = default();
    let hints = of_type("a", 4_500);
    push(&queue, &hints).await;
    let list = List::Main(&name);
    let tail = queue.page_before(list, None).await.expect("a page");
    assert_eq!((tail.ids.len(), tail.is_first), (2_000, false));
    let mut popper = queue.popper(std::slice::from_ref(&name));
    pop(&mut popper, 100).await;
    let gone = ids(&hints[3_000..3_010]);
    assert_eq!(queue.mark(&tail, &gone, &[]).await.expect("marked"), 10);
    let before = queue.page_before(list, Some(&tail)).await.expect("a page");
    assert_eq!(before.ids.last(), Some(&hints[2_499].id));
    let first = queue.page_before(list, Some(&before)).await.expect("a page");
    assert!(first.is_first && first.ids.len() == 400);
    queue.remove_marked(list).await.expect("removed");
    assert_eq!(depth(&queue).await, 4_390);
}

#[tokio::test]
async fn type_lists_are_not_adopted_once_the_queue_is_no_longer_being_opened() {
    let queue = TestQueue::new();
    let name = default();
    let a = of_type("a", 2);
    push(&queue, &a).await;
    let generation = queue.open_type_lists(&name).await.expect("opened");
    let mut rebuild = queue.begin_rebuild(&name, "test");
    rebuild
        .add(List::Type(&name, "a"), &ids(&a))
        .await
        .expect("added");
    queue.unsplit(&name).await.expect("a step");
    assert_eq!(rebuild.adopt(&generation).await.expect("an answer"), None);
    assert_eq!(depth(&queue).await, 2);
}

#[tokio::test]
async fn type_lists_are_not_adopted_once_the_queue_was_closed_and_opened_again() {
    // after the first step to plain, and after both
    for steps in [1, 2] {
        let queue = TestQueue::new();
        let name = default();
        let a = of_type("a", 3);
        push(&queue, &a[..1]).await;
        let first = queue.open_type_lists(&name).await.expect("opened");
        let mut rebuild = queue.begin_rebuild(&name, "test");
        rebuild
            .add(List::Type(&name, "a"), &ids(&a[..1]))
            .await
            .expect("added");
        push(&queue, &a[1..2]).await;
        for _ in 0..steps {
            queue.unsplit(&name).await.expect("a step");
        }
        push(&queue, &a[2..]).await;
        let second = queue.open_type_lists(&name).await.expect("opened");
        assert_eq!(rebuild.adopt(&first).await.expect("an answer"), None);
        assert_eq!(depth(&queue).await, 3, "after {steps} steps");
        let mut popper = queue.popper_of_types(&[default()], &["a"]);
        assert_eq!(pop(&mut popper, 9).await, ids(&a));
        let adopted = rebuild.adopt(&second).await.expect("an answer");
        assert!(adopted.is_some(), "the lists of the last opening are adopted");
    }
}

#[tokio::test]
async fn leaders_that_open_a_queue_together_fill_lists_of_one_generation() {
    let queue = TestQueue::new();
    let name = default();
    let a = of_type("a", 1);
    let first = queue.open_type_lists(&name).await.expect("opened");
    let second = queue.open_type_lists(&name).await.expect("opened");
    for generation in [first, second] {
        let mut rebuild = queue.begin_rebuild(&name, "test");
        rebuild
            .add(List::Type(&name, "a"), &ids(&a))
            .await
            .expect("added");
        let adopted = rebuild.adopt(&generation).await.expect("an answer");
        assert!(adopted.is_some());
    }
    assert_eq!(depth(&queue).await, 1);
}

#[tokio::test]
async fn what_is_parked_while_lists_are_made_stays_parked() {
    let queue = TestQueue::new();
    let name = default();
    let (a, b) = (of_type("a", 1), of_type("b", 3));
    queue.park(&b[..1]).await.expect("parked");
    let mut rebuild = queue.begin_rebuild(&name, "test");
    rebuild.add(List::Main(&name), &ids(&a)).await.expect("added");
    rebuild
        .add(List::Unroutable(&name), &ids(&b[..1]))
        .await
        .expect("added");
    queue.park(&b[1..]).await.expect("parked");
    rebuild.replace().await.expect("replaced");
    assert_eq!((depth(&queue).await, parked(&queue).await), (1, 3));
    split(&queue, &a).await;
    assert_eq!((depth(&queue).await, parked(&queue).await), (1, 3));
}

#[tokio::test]
async fn a_main_list_is_emptied_when_all_that_waits_is_parked() {
    let queue = TestQueue::new();
    let name = default();
    let b = of_type("b", 2);
    push(&queue, &b).await;
    let mut rebuild = queue.begin_rebuild(&name, "test");
    rebuild
        .add(List::Unroutable(&name), &ids(&b))
        .await
        .expect("added");
    rebuild.replace().await.expect("replaced");
    assert_eq!((depth(&queue).await, parked(&queue).await), (0, 2));
}

#[tokio::test]
async fn a_plain_queue_is_not_closed() {
    let queue = TestQueue::new();
    queue.unsplit(&default()).await.expect("a step");
    assert_eq!(queue.split(&default()).await.expect("a state"), Split::Plain);
}

#[tokio::test]
async fn two_sweeps_of_a_repeated_id_leave_one_copy() {
    let queue = TestQueue::new();
    let name = default();
    let a = of_type("a", 2);
    push(&queue, &[&*a, &a[..1]].concat()).await;
    let list = List::Main(&name);
    let pages = [
        queue.page_before(list, None).await.expect("a page"),
        queue.page_before(list, None).await.expect("a page"),
    ];
    for page in &pages {
        queue.mark(page, &[], &ids(&a[..1])).await.expect("marked");
    }
    queue.remove_marked(list).await.expect("removed");
    assert_eq!(depth(&queue).await, 2);
}

#[tokio::test]
async fn a_task_that_came_from_the_main_list_of_a_split_queue_is_not_doubled_on_its_type_list() {
    let queue = TestQueue::new();
    let (a, b) = (of_type("a", 3), of_type("b", 1));
    push(&queue, &[&*a, &*b].concat()).await;
    // a worker that has been blocking since before the split
    let mut late = queue.popper_of_types(&[default()], &["b"]);
    split(&queue, &[&*a, &*b].concat()).await;
    assert_eq!(late.pop(2, NOW, false).await.expect("popped").ids, ids(&a[..2]));
    queue.reroute(&a[..2]).await.expect("rerouted");
    assert_eq!(depth(&queue).await, 4);
    let mut knows_a = worker(&queue, &["a"]).await;
    assert_eq!(pop(&mut knows_a, 9).await, ids(&a));
    assert_eq!(depth(&queue).await, 1);
}

#[tokio::test]
async fn a_task_that_is_rerouted_in_a_plain_queue_is_popped_first() {
    let queue = TestQueue::new();
    let a = of_type("a", 3);
    push(&queue, &a).await;
    let mut knows_a = queue.popper_of_types(&[default()], &["a"]);
    assert_eq!(pop(&mut knows_a, 2).await, ids(&a[..2]));
    queue.reroute(&a[..2]).await.expect("rerouted");
    assert_eq!(pop(&mut knows_a, 9).await, ids(&a));
}
