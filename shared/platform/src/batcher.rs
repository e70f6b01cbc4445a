//! Group commit: concurrent writers take all that waits in one bounded channel and write it in batches.
//!
//! The batches need no timer: what arrives while the writers are busy is the next batch, so batches grow with
//! the load, and an item that arrives while a writer is free is written at once. Bounds on what waits, and
//! what happens to an item beyond them, belong to the sender of the channel.
//!
//! An item that expects an answer carries its reply channel, which closes if the item is dropped. That
//! happens only when the future of [`Batcher::write_all`] is dropped or its `write` panics: the batch of that
//! writer is lost, its turn passes on, and the other writers continue.

use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

/// An item of a batch.
pub trait Item {
    /// Returns its size in bytes, as it counts towards the limit of a batch.
    fn bytes(&self) -> usize;
}

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of items.
    pub items: usize,
    /// The number of bytes.
    pub bytes: ByteLimit,
}

/// The limit on the bytes of a batch.
#[derive(Debug, Clone, Copy)]
pub enum ByteLimit {
    /// An item that would exceed it begins the next batch. A batch of one item may exceed it.
    Within(usize),
    /// The item that reaches or exceeds it is the last one of its batch.
    Past(usize),
}

/// The receiving side of a channel, shared by the writers of its items.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: Limits,
    /// Locked by the writer that gathers a batch, and not while it writes.
    queue: Mutex<Queue<T>>,
    /// `None` if the writers take no turns.
    turns: Option<Turns>,
}

/// The turns of the writers.
#[derive(Debug)]
struct Turns {
    /// Has one permit, which a writer holds while it writes.
    turn: Semaphore,
    /// The maximum wait of a batch for its turn.
    wait: Duration,
}

impl<T: Item> Batcher<T> {
    /// Creates a batcher whose writers write as soon as they have a batch.
    pub fn new(channel: mpsc::Receiver<T>, limits: Limits) -> Self {
        Self {
            limits,
            queue: Mutex::new(Queue { channel, next: None }),
            turns: None,
        }
    }

    /// Makes the writers take turns: a batch that is not full grows until the write before it has ended, but
    /// at most for `wait`, so a slow write does not block the others. Fits writes whose fixed cost is high.
    #[must_use]
    pub fn in_turns(self, wait: Duration) -> Self {
        Self {
            turns: Some(Turns {
                turn: Semaphore::new(1),
                wait,
            }),
            ..self
        }
    }

    /// Writes batches with `write` until all senders are gone, or `stop` is cancelled, and nothing waits.
    /// Each concurrent writer calls it once.
    ///
    /// The items that `write` returns are part of this writer's next batch, which waits for no others.
    pub async fn write_all<F>(&self, stop: &CancellationToken, mut write: impl FnMut(Vec<T>) -> F)
    where
        F: Future<Output = Vec<T>>,
    {
        let mut again = Vec::new();
        while let Some((items, _turn)) = self.gather(again, stop).await {
            again = write(items).await;
        }
    }

    /// Gathers the next batch, which begins with `again`, and takes its turn; `None` when no item can arrive
    /// any more.
    async fn gather(
        &self,
        again: Vec<T>,
        stop: &CancellationToken,
    ) -> Option<(Vec<T>, Option<SemaphorePermit<'_>>)> {
        let mut batch = Batch::new(again, self.limits);
        let mut queue = match self.queue.try_lock() {
            Ok(queue) => queue,
            Err(_) if batch.is_empty() => self.queue.lock().await,
            // another writer holds the lock until the next item arrives
            Err(_) => return Some((batch.items, None)),
        };
        if batch.is_empty() {
            queue.next = batch.take(queue.first(stop).await?);
        } else if let Some(next) = queue.next.take() {
            queue.next = batch.take(next);
        }
        let turn = match &self.turns {
            None => None,
            Some(turns) => queue.gather_until_turn(&mut batch, turns).await,
        };
        queue.gather_waiting(&mut batch);
        if self.turns.is_some() {
            queue.gather_arriving(&mut batch).await;
        }
        Some((batch.items, turn))
    }
}

/// The items that wait.
#[derive(Debug)]
struct Queue<T> {
    channel: mpsc::Receiver<T>,
    /// The item that did not fit into the previous batch.
    next: Option<T>,
}

impl<T: Item> Queue<T> {
    /// Waits for the first item of a batch; `None` when none can arrive any more.
    async fn first(&mut self, stop: &CancellationToken) -> Option<T> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        tokio::select! {
            // items before the stop, so that a shutdown drains the channel
            biased;
            first = self.channel.recv() => first,
            // an item may have arrived since the line above found none
            () = stop.cancelled() => self.channel.try_recv().ok(),
        }
    }

    /// Takes items until the turn has come, the batch is full, or the maximum wait is over. Returns the turn
    /// if it has come; without one the batch is written beside another.
    async fn gather_until_turn<'a>(
        &mut self,
        batch: &mut Batch<T>,
        turns: &'a Turns,
    ) -> Option<SemaphorePermit<'a>> {
        let turn = turns.turn.acquire();
        let late = tokio::time::sleep(turns.wait);
        tokio::pin!(turn, late);
        while self.may_grow(batch) {
            tokio::select! {
                biased;
                turn = &mut turn => return turn.ok(),
                () = &mut late => return None,
                Some(item) = self.channel.recv() => self.next = batch.take(item),
            }
        }
        None
    }

    /// Takes the items that wait already: waiting for more would delay the first ones.
    fn gather_waiting(&mut self, batch: &mut Batch<T>) {
        while self.may_grow(batch) {
            let Ok(item) = self.channel.try_recv() else { return };
            self.next = batch.take(item);
        }
    }

    /// Takes the items that arrive within one turn of the scheduler, and again after each that brought some:
    /// they join this batch instead of forming a small one of their own.
    async fn gather_arriving(&mut self, batch: &mut Batch<T>) {
        while self.may_grow(batch) {
            tokio::task::yield_now().await;
            if self.channel.is_empty() {
                return;
            }
            self.gather_waiting(batch);
        }
    }

    fn may_grow(&self, batch: &Batch<T>) -> bool {
        self.next.is_none() && !batch.is_full()
    }
}

/// Items that are written together.
struct Batch<T> {
    limits: Limits,
    items: Vec<T>,
    bytes: usize,
}

impl<T: Item> Batch<T> {
    fn new(items: Vec<T>, limits: Limits) -> Self {
        let bytes = items.iter().map(Item::bytes).sum();
        Self { limits, items, bytes }
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns true if no further item is to be received for it.
    fn is_full(&self) -> bool {
        let full = match self.limits.bytes {
            // an item without bytes would still fit
            ByteLimit::Within(_) => false,
            ByteLimit::Past(bytes) => self.bytes >= bytes,
        };
        full || self.items.len() >= self.limits.items
    }

    /// Adds an item, or returns it if it does not fit. The first always fits.
    fn take(&mut self, item: T) -> Option<T> {
        let bytes = self.bytes + item.bytes();
        let exceeds = matches!(self.limits.bytes, ByteLimit::Within(limit) if bytes > limit);
        if !self.is_empty() && (exceeds || self.is_full()) {
            return Some(item);
        }
        self.bytes = bytes;
        self.items.push(item);
        None
    }
}
