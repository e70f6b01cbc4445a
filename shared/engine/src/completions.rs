//! Completions: gathers the completions of runs into batches. Of two flushers, one gathers the next batch
//! while the other writes. It waits for that write only briefly, so a slow write, for instance one blocked by
//! a locked row, does not block other completions. A completion that arrives while no write is pending is
//! written at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::completion::Completion;
use crate::completion_writer::{CompletionWriter, write};

/// The number of flushers: one writes while the other gathers.
pub(crate) const FLUSHERS: usize = 2;
/// Maximum number of completions in one statement. More would cost memory and save little.
const BATCH_RUNS: usize = 512;
/// Maximum bytes of results in one statement, unless a single one is larger.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The maximum time for which a batch that is not full waits for the write before it.
const TURN_MAX: Duration = Duration::from_millis(50);
/// Maximum bytes of results that wait to be written; beyond it, a finished run keeps its slot until there is
/// space.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

struct Queued {
    completion: Completion,
    bytes: OwnedSemaphorePermit,
}

/// The sending side of the completions: runs hand theirs in here.
#[derive(Debug, Clone)]
pub(crate) struct Completer {
    sender: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
}

/// The receiving side of a [`Completer`]; the flushers share it.
pub(crate) struct Completions {
    receiver: Mutex<Waiting>,
    /// Acquired while a batch is written: small batches take turns, since each statement has a fixed cost.
    turn: Semaphore,
}

struct Waiting {
    channel: mpsc::Receiver<Queued>,
    /// The completion that did not fit into the previous batch.
    next: Option<Queued>,
}

impl Completer {
    pub(crate) fn new(pool_size: usize) -> (Self, Arc<Completions>) {
        let (sender, channel) = mpsc::channel(pool_size.max(BATCH_RUNS));
        let bytes = Arc::new(Semaphore::new(WAITING_BYTES));
        (
            Self { sender, bytes },
            Arc::new(Completions {
                receiver: Mutex::new(Waiting { channel, next: None }),
                turn: Semaphore::new(1),
            }),
        )
    }

    /// Hands in a completion; waits while the waiting ones exceed their limits.
    pub(crate) async fn send(&self, completion: Completion) {
        // capped: a result larger than all permits would wait for ever
        let bytes = u32::try_from(completion.bytes().min(WAITING_BYTES)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes)
            .acquire_many_owned(bytes)
            .await
            .expect("the semaphore is never closed");
        // fails only when a hard stop ended the flushers: then recovery requeues the task
        let _ = self
            .sender
            .send(Queued {
                completion,
                bytes: permit,
            })
            .await;
    }
}

impl Completions {
    /// Writes batches until no run can hand in a completion any more.
    pub(crate) async fn flush(self: Arc<Self>, writer: Arc<CompletionWriter>, stop: CancellationToken) {
        loop {
            let mut batch = Batch::default();
            let _turn = {
                // held while gathering and not while writing: the other flusher gathers meanwhile
                let mut waiting = self.receiver.lock().await;
                if !waiting.begin(&mut batch, &stop).await {
                    return;
                }
                // `None` after TURN_MAX: the batch is then written beside the one that holds the turn
                let turn = waiting.gather_until(&mut batch, self.turn.acquire()).await;
                waiting.gather(&mut batch).await;
                turn
            };
            write(&writer, batch.completions).await;
        }
    }
}

/// Completions that are written together.
#[derive(Default)]
struct Batch {
    completions: Vec<Completion>,
    bytes: usize,
    /// Their reservations of `WAITING_BYTES`, released when the batch is dropped.
    permits: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    /// Adds a completion, or returns it if it does not fit. The first always fits.
    fn take(&mut self, queued: Queued) -> Option<Queued> {
        let bytes = self.bytes + queued.completion.bytes();
        if !self.completions.is_empty() && (bytes > BATCH_BYTES || self.is_full()) {
            return Some(queued);
        }
        self.bytes = bytes;
        self.completions.push(queued.completion);
        self.permits.push(queued.bytes);
        None
    }

    fn is_full(&self) -> bool {
        self.completions.len() >= BATCH_RUNS
    }
}

impl Waiting {
    /// Begins a batch with the next completion; `false` when none can arrive any more.
    async fn begin(&mut self, batch: &mut Batch, stop: &CancellationToken) -> bool {
        let first = if let Some(next) = self.next.take() {
            Some(next)
        } else {
            tokio::select! {
                biased;
                first = self.channel.recv() => first,
                // biased: no run hands in a completion after this, and those handed in before were received
                // above
                () = stop.cancelled() => None,
            }
        };
        first.is_some_and(|first| batch.take(first).is_none())
    }

    /// Takes completions until `turn` is ready, the batch is full, or `TURN_MAX` has passed. Returns the
    /// turn, if it was ready.
    async fn gather_until<T>(&mut self, batch: &mut Batch, turn: impl Future<Output = T>) -> Option<T> {
        let late = tokio::time::sleep(TURN_MAX);
        tokio::pin!(turn, late);
        while self.next.is_none() && !batch.is_full() {
            tokio::select! {
                biased;
                turn = &mut turn => return Some(turn),
                () = &mut late => return None,
                Some(queued) = self.channel.recv() => self.next = batch.take(queued),
            }
        }
        None
    }

    /// Takes the completions that wait, and those that arrive within one turn of the scheduler.
    async fn gather(&mut self, batch: &mut Batch) {
        while self.next.is_none() && !batch.is_full() {
            let Ok(queued) = self.channel.try_recv() else {
                // runs that end at this moment join this batch instead of forming a small one of their own
                tokio::task::yield_now().await;
                if self.channel.is_empty() {
                    return;
                }
                continue;
            };
            self.next = batch.take(queued);
        }
    }
}
