//! Completions: gathers the completions of runs into batches. Of two flushers, one gathers the next batch
//! while the other writes. It waits for that write only briefly, so a slow write, for instance one blocked by
//! a locked row, does not block other completions. A completion that arrives while no write is pending is
//! written at once.

use std::sync::Arc;
use std::time::Duration;

use tasker_platform::batcher::{Batcher, ByteLimit, Limits};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::completion::{Completion, Queued};
use crate::completion_writer::{CompletionWriter, write};

/// The number of flushers: one writes while the other gathers.
pub(crate) const FLUSHERS: usize = 2;
/// The limits of one statement: more completions would cost memory and save little.
const BATCH: Limits = Limits {
    items: 512,
    bytes: ByteLimit::Within(4 * 1024 * 1024),
};
/// The maximum time for which a batch that is not full waits for the write before it. Small batches take
/// turns, since each statement has a fixed cost.
const TURN_MAX: Duration = Duration::from_millis(50);
/// Maximum bytes of results that wait to be written; beyond it, a finished run keeps its slot until there is
/// space.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// The sending side of the completions: runs hand theirs in here.
#[derive(Debug, Clone)]
pub(crate) struct Completer {
    sender: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
}

/// The receiving side of a [`Completer`]; the flushers share it.
pub(crate) struct Completions {
    batcher: Batcher<Queued>,
}

impl Completer {
    pub(crate) fn new(pool_size: usize) -> (Self, Arc<Completions>) {
        let (sender, channel) = mpsc::channel(pool_size.max(BATCH.items));
        let bytes = Arc::new(Semaphore::new(WAITING_BYTES));
        let batcher = Batcher::new(channel, BATCH).in_turns(TURN_MAX);
        (Self { sender, bytes }, Arc::new(Completions { batcher }))
    }

    /// Hands in a completion; waits while the waiting ones exceed their limits.
    pub(crate) async fn send(&self, completion: Completion) {
        // capped: a result larger than all permits would wait for ever
        let bytes = u32::try_from(completion.bytes().min(WAITING_BYTES)).unwrap_or(u32::MAX);
        let reservation = Arc::clone(&self.bytes)
            .acquire_many_owned(bytes)
            .await
            .expect("the semaphore is never closed");
        // fails only when a hard stop ended the flushers: then recovery requeues the task
        let _ = self
            .sender
            .send(Queued {
                completion,
                reservation,
            })
            .await;
    }
}

impl Completions {
    /// Writes batches until no run can hand in a completion any more.
    pub(crate) async fn flush(self: Arc<Self>, writer: Arc<CompletionWriter>, stop: CancellationToken) {
        let writer = &writer;
        let write = |batch| async move {
            write(writer, batch).await;
            // the write retries by itself
            Vec::new()
        };
        self.batcher.write_all(&stop, write).await;
    }
}
