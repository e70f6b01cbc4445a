//! Ends: gathers the ends of runs, to be written many at once. Two flushers take what waits; while one's write is on its way,
//! the other gathers the next batch. It does not wait for long: a write that is held up, say by a row that somebody keeps
//! locked, holds up nobody else. An end that comes while nothing is being written goes out at once.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::store::claim::Claimed;
use tasker_shared::store::complete::Success;
use tasker_shared::store::end_runs::{EndedRun, Verdict};
use tasker_shared::task::QueueName;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::complete::write;
use crate::runtime::Parts;
use crate::tally::Summary;

/// Flushers: one writes while the other gathers.
pub(crate) const FLUSHERS: usize = 2;
/// Most ends in one statement. More would cost memory and save next to nothing.
const BATCH_RUNS: usize = 512;
/// Most bytes of results in one statement, unless a single one is larger.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long a batch that is not full waits for the write before it.
const TURN_MAX: Duration = Duration::from_millis(50);
/// Bytes of results that wait to be written; a run with another waits in its slot.
const HELD_BYTES: usize = 64 * 1024 * 1024;

/// A run that is over, for the worker.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) summary: Summary,
    pub(crate) queue: QueueName,
    pub(crate) ending: Ending,
}

/// What is to be written of it.
#[derive(Debug)]
pub(crate) enum Ending {
    Success(Success),
    Other(EndedRun),
}

impl Finished {
    pub(crate) fn new(
        claimed: Claimed,
        elapsed: Duration,
        panicked_at: Option<String>,
        ending: Ending,
    ) -> Self {
        Self {
            summary: Summary {
                run: claimed.run,
                task_name: claimed.task_name,
                correlation_id: claimed.correlation_id,
                attempt: claimed.attempts + 1,
                max_attempts: claimed.max_attempts,
                elapsed,
                panicked_at,
            },
            queue: claimed.queue,
            ending,
        }
    }

    /// Whether an attempt took place and is over.
    pub(crate) fn is_end(&self) -> bool {
        !matches!(&self.ending, Ending::Other(ended) if matches!(ended.verdict, Verdict::Released))
    }

    fn bytes(&self) -> usize {
        match &self.ending {
            Ending::Success(success) => success.result.len(),
            Ending::Other(ended) => ended.error.as_ref().map_or(0, String::len),
        }
    }
}

struct Queued {
    finished: Finished,
    bytes: OwnedSemaphorePermit,
}

/// Where runs hand in their ends.
#[derive(Debug)]
pub(crate) struct Completer {
    ends: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
}

/// The other side of a [`Completer`]; the flushers share it.
pub(crate) struct Ends {
    receiver: Mutex<Waiting>,
    /// Held while a batch is written: small batches take turns, since each statement has a price of its own.
    turn: Semaphore,
}

struct Waiting {
    channel: mpsc::Receiver<Queued>,
    /// The end that did not fit into the batch before.
    next: Option<Queued>,
}

impl Completer {
    pub(crate) fn new(pool_size: usize) -> (Self, Arc<Ends>) {
        let (ends, channel) = mpsc::channel(pool_size.max(BATCH_RUNS));
        let bytes = Arc::new(Semaphore::new(HELD_BYTES));
        (
            Self { ends, bytes },
            Arc::new(Ends {
                receiver: Mutex::new(Waiting { channel, next: None }),
                turn: Semaphore::new(1),
            }),
        )
    }

    /// Hands in an end; waits while too many are held.
    pub(crate) async fn send(&self, finished: Finished) {
        let bytes = u32::try_from(finished.bytes().min(HELD_BYTES)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes)
            .acquire_many_owned(bytes)
            .await
            .expect("the semaphore is never closed");
        // fails only when the flushers were ended by a hard stop: then recovery returns the run
        let _ = self
            .ends
            .send(Queued {
                finished,
                bytes: permit,
            })
            .await;
    }
}

impl Ends {
    /// Writes what is handed in until nothing can come any more.
    pub(crate) async fn flush(self: Arc<Self>, parts: Arc<Parts>) {
        loop {
            let mut batch = Batch::default();
            let _turn = {
                let mut waiting = self.receiver.lock().await;
                if !waiting.begin(&mut batch, &parts).await {
                    return;
                }
                let turn = waiting.gather_until(&mut batch, self.turn.acquire()).await;
                waiting.gather(&mut batch).await;
                turn
            };
            write(&parts, batch.ends).await;
        }
    }
}

/// Ends that are written together.
#[derive(Default)]
struct Batch {
    ends: Vec<Finished>,
    bytes: usize,
    /// Their room among the bytes that may wait.
    permits: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    /// Takes an end, or gives it back if it does not fit any more. The first always fits.
    fn take(&mut self, queued: Queued) -> Option<Queued> {
        let bytes = self.bytes + queued.finished.bytes();
        if !self.ends.is_empty() && (bytes > BATCH_BYTES || self.is_full()) {
            return Some(queued);
        }
        self.bytes = bytes;
        self.ends.push(queued.finished);
        self.permits.push(queued.bytes);
        None
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= BATCH_RUNS
    }
}

impl Waiting {
    /// Begins a batch with the end that waits or comes next; `false` when none can come any more.
    async fn begin(&mut self, batch: &mut Batch, parts: &Parts) -> bool {
        let first = if let Some(next) = self.next.take() {
            Some(next)
        } else {
            tokio::select! {
                biased;
                first = self.channel.recv() => first,
                // runs hand in nothing after this, and what they handed in was received above
                () = parts.no_more_ends.cancelled() => None,
            }
        };
        first.is_some_and(|first| batch.take(first).is_none())
    }

    /// Takes what is handed in until `turn` comes, the batch is full, or it has waited long enough.
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

    /// Takes what waits, and what ends at this moment.
    async fn gather(&mut self, batch: &mut Batch) {
        while self.next.is_none() && !batch.is_full() {
            let Ok(queued) = self.channel.try_recv() else {
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
