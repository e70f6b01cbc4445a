use std::future::{Ready, ready};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::*;
use crate::lifecycle::Shutdown;

/// A wait that no test reaches.
const LONG: Duration = Duration::from_hours(1);

/// An item with a name, a size and a reply channel.
#[derive(Debug)]
struct Entry {
    name: usize,
    bytes: usize,
    _answer: Option<oneshot::Sender<()>>,
}

impl Item for Entry {
    fn bytes(&self) -> usize {
        self.bytes
    }
}

fn item(name: usize, bytes: usize) -> Entry {
    Entry {
        name,
        bytes,
        _answer: None,
    }
}

fn names(items: &[Entry]) -> Vec<usize> {
    items.iter().map(|item| item.name).collect()
}

/// Returns a channel and its batcher, with batches of at most `items` and `bytes`.
fn batcher(items: usize, bytes: ByteLimit) -> (mpsc::Sender<Entry>, Batcher<Entry>) {
    let (sender, receiver) = mpsc::channel(100);
    (sender, Batcher::new(receiver, Limits { items, bytes }))
}

/// Returns the batches of one writer for items of the given sizes, all of which wait when it starts.
async fn batches(items: usize, bytes: ByteLimit, sizes: &[usize]) -> Vec<Vec<usize>> {
    let (sender, batcher) = batcher(items, bytes);
    for (name, bytes) in sizes.iter().enumerate() {
        sender.try_send(item(name, *bytes)).expect("capacity");
    }
    drop(sender);
    let mut written = Vec::new();
    let write = |batch: Vec<Entry>| {
        written.push(names(&batch));
        ready(Vec::new())
    };
    batcher.write_all(&CancellationToken::new(), write).await;
    written
}

/// A writer on a task of its own, whose writes the test sees and ends one by one.
struct Writer {
    /// The batches that it began to write.
    first: mpsc::UnboundedReceiver<Vec<usize>>,
    /// Each message ends a write, which returns those items of the batch that have the given names.
    end: mpsc::UnboundedSender<Vec<usize>>,
}

impl Writer {
    fn start(batcher: &Arc<Batcher<Entry>>, stop: &CancellationToken, shutdown: &Shutdown) -> Self {
        let (began, first) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::unbounded_channel();
        let ended = Arc::new(Mutex::new(ended));
        let (batcher, stop) = (Arc::clone(batcher), stop.clone());
        shutdown.spawn_named("writer", async move {
            let write = |batch: Vec<Entry>| {
                began.send(names(&batch)).ok();
                let ended = Arc::clone(&ended);
                async move {
                    // no message comes once the test has dropped this writer
                    let again: Vec<usize> = ended.lock().await.recv().await.unwrap_or_default();
                    let mut batch = batch;
                    batch.retain(|item| again.contains(&item.name));
                    batch
                }
            };
            batcher.write_all(&stop, write).await;
        });
        Self { first, end }
    }

    async fn begins(&mut self) -> Vec<usize> {
        self.first.recv().await.expect("the writer runs")
    }

    fn end(&self, again: &[usize]) {
        self.end.send(again.to_vec()).expect("the writer runs");
    }
}

/// Lets every other task of this thread run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_batch_is_all_that_waits_up_to_the_maximum_number() {
    let written = batches(3, ByteLimit::Within(usize::MAX), &[1; 7]).await;
    assert_eq!(written, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
}

#[tokio::test]
async fn a_strict_byte_limit_is_exceeded_only_by_an_item_alone() {
    let written = batches(10, ByteLimit::Within(5), &[2, 3, 9, 0, 4, 2]).await;
    assert_eq!(written, [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
}

#[tokio::test]
async fn a_loose_byte_limit_closes_the_batch_with_the_item_that_reaches_it() {
    let written = batches(10, ByteLimit::Past(5), &[2, 2, 9, 5, 4, 2]).await;
    assert_eq!(written, [vec![0, 1, 2], vec![3], vec![4, 5]]);
}

#[tokio::test]
async fn a_stop_ends_the_writers_after_all_that_waits() {
    let (sender, batcher) = batcher(2, ByteLimit::Within(4));
    let (stop, shutdown) = (CancellationToken::new(), Shutdown::new());
    stop.cancel();
    for name in 0..3 {
        sender.try_send(item(name, 3)).expect("capacity");
    }
    let batcher = Arc::new(batcher);
    let mut writer = Writer::start(&batcher, &stop, &shutdown);
    for name in 0..3 {
        assert_eq!(writer.begins().await, [name], "{name} waits beside the stop");
        writer.end(&[]);
    }
    shutdown.soft().cancel();
    assert!(shutdown.drained().await && !shutdown.panicked());
}

#[tokio::test]
async fn an_item_is_written_at_once_while_a_writer_is_free() {
    let (sender, batcher) = batcher(10, ByteLimit::Past(100));
    let (stop, shutdown, batcher) = (CancellationToken::new(), Shutdown::new(), Arc::new(batcher));
    let mut one = Writer::start(&batcher, &stop, &shutdown);
    let mut other = Writer::start(&batcher, &stop, &shutdown);
    sender.try_send(item(0, 1)).expect("capacity");
    assert_eq!(one.begins().await, [0]);
    sender.try_send(item(1, 1)).expect("capacity");
    assert_eq!(other.begins().await, [1]);
    sender.try_send(item(2, 1)).expect("capacity");
    sender.try_send(item(3, 1)).expect("capacity");
    one.end(&[]);
    assert_eq!(
        one.begins().await,
        [2, 3],
        "what arrived during the writes is one batch"
    );
}

#[tokio::test]
async fn returned_items_are_written_again_with_those_that_wait() {
    let (sender, batcher) = batcher(10, ByteLimit::Within(4));
    let (stop, shutdown, batcher) = (CancellationToken::new(), Shutdown::new(), Arc::new(batcher));
    for name in 0..4 {
        sender.try_send(item(name, 2)).expect("capacity");
    }
    let mut writer = Writer::start(&batcher, &stop, &shutdown);
    assert_eq!(writer.begins().await, [0, 1]);
    writer.end(&[1]);
    assert_eq!(writer.begins().await, [1, 2]);
    writer.end(&[]);
    assert_eq!(writer.begins().await, [3]);
}

#[tokio::test]
async fn returned_items_do_not_wait_for_the_next_item() {
    let (sender, batcher) = batcher(2, ByteLimit::Within(100));
    let (stop, shutdown, batcher) = (CancellationToken::new(), Shutdown::new(), Arc::new(batcher));
    sender.try_send(item(0, 1)).expect("capacity");
    let mut writer = Writer::start(&batcher, &stop, &shutdown);
    assert_eq!(writer.begins().await, [0]);
    let _idle = Writer::start(&batcher, &stop, &shutdown);
    settle().await;
    assert!(
        batcher.queue.try_lock().is_err(),
        "the idle writer waits for an item"
    );
    writer.end(&[0]);
    assert_eq!(writer.begins().await, [0]);
}

#[tokio::test]
async fn a_batch_grows_until_its_turn() {
    let (sender, batcher) = batcher(3, ByteLimit::Within(100));
    let batcher = Arc::new(batcher.in_turns(LONG));
    let (stop, shutdown) = (CancellationToken::new(), Shutdown::new());
    let mut one = Writer::start(&batcher, &stop, &shutdown);
    let mut other = Writer::start(&batcher, &stop, &shutdown);
    sender.try_send(item(0, 1)).expect("capacity");
    assert_eq!(one.begins().await, [0]);
    for name in [1, 2] {
        sender.try_send(item(name, 1)).expect("capacity");
        settle().await;
        assert!(other.first.try_recv().is_err(), "it is not the turn of {name}");
    }
    one.end(&[]);
    assert_eq!(other.begins().await, [1, 2]);
}

#[tokio::test]
async fn a_full_batch_and_one_that_waited_long_are_written_beside_a_slow_write() {
    for (wait, items) in [(LONG, 2), (Duration::from_millis(1), 3)] {
        let (sender, batcher) = batcher(items, ByteLimit::Within(100));
        let batcher = Arc::new(batcher.in_turns(wait));
        let (stop, shutdown) = (CancellationToken::new(), Shutdown::new());
        let mut one = Writer::start(&batcher, &stop, &shutdown);
        let mut other = Writer::start(&batcher, &stop, &shutdown);
        sender.try_send(item(0, 1)).expect("capacity");
        assert_eq!(one.begins().await, [0]);
        sender.try_send(item(1, 1)).expect("capacity");
        sender.try_send(item(2, 1)).expect("capacity");
        assert_eq!(other.begins().await, [1, 2]);
    }
}

#[tokio::test]
async fn a_panic_of_a_writer_drops_its_batch_alone_and_passes_its_turn_on() {
    let (sender, batcher) = batcher(10, ByteLimit::Within(100));
    let batcher = Arc::new(batcher.in_turns(LONG));
    let (stop, shutdown) = (CancellationToken::new(), Shutdown::new());
    let panics = Arc::clone(&batcher);
    shutdown.spawn_named("writer", async move {
        let write = |_| -> Ready<Vec<Entry>> { panic!("on purpose") };
        panics.write_all(&CancellationToken::new(), write).await;
    });
    let (answer, answered) = oneshot::channel();
    let first = Entry {
        _answer: Some(answer),
        ..item(0, 1)
    };
    sender.try_send(first).expect("capacity");
    assert!(answered.await.is_err(), "its caller receives no answer");
    let mut writer = Writer::start(&batcher, &stop, &shutdown);
    sender.try_send(item(1, 1)).expect("capacity");
    assert_eq!(writer.begins().await, [1]);
    assert!(shutdown.panicked());
}
